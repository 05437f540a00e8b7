// Reads every file of a directory with the readers that run on node; prints a line of JSON for each file and reader.
// Arguments: the directory that has node_modules, the directory of the files.
'use strict'
const fs = require('fs')
const path = require('path')
const util = require('util')

const [packages, files] = process.argv.slice(2)
const load = (name) => require(path.join(packages, 'node_modules', name))
const [newest, older, oldest] = ['dotenv', 'dotenv16', 'dotenv8'].map(load)

// As nanoclaw reads: trims lines, skips blanks and `#`, splits at the first `=`, strips one pair of matching quotes.
const simple = (bytes) => {
  const values = {}
  for (const line of bytes.toString().split('\n').map((line) => line.trim())) {
    const at = line.indexOf('=')
    if (line === '' || line.startsWith('#') || at < 0) continue
    const value = line.slice(at + 1).trim()
    const quoted = value.length > 1 && `"'`.includes(value[0]) && value.endsWith(value[0])
    values[line.slice(0, at).trim()] = quoted ? value.slice(1, -1) : value
  }
  return values
}

const readers = {
  'dotenv 18': (bytes) => newest.parse(bytes),
  'dotenv 18, fast': (bytes) => newest.parse(bytes, { fast: true }),
  'dotenv 16': (bytes) => older.parse(bytes),
  'dotenv 8': (bytes) => oldest.parse(bytes),
  simple
}
// What `--env-file` uses; node has it since 20.12.
if (util.parseEnv) readers.node = (bytes) => util.parseEnv(bytes.toString())

for (const file of fs.readdirSync(files)) {
  const bytes = fs.readFileSync(path.join(files, file))
  for (const [reader, read] of Object.entries(readers)) {
    console.log(JSON.stringify({ file, reader, values: { ...read(bytes) } }))
  }
}
