PRAGMA journal_mode = WAL;
CREATE TABLE workers(
  id TEXT PRIMARY KEY, ssh_host TEXT NOT NULL, ssh_user TEXT NOT NULL, ssh_port INTEGER NOT NULL DEFAULT 22,
  local_port INTEGER NOT NULL, remote_port INTEGER NOT NULL DEFAULT 7801,
  status TEXT NOT NULL DEFAULT 'online' CHECK (status IN ('online', 'offline')),
  max_wip INTEGER NOT NULL DEFAULT 2, current_wip INTEGER NOT NULL DEFAULT 0, shared_secret TEXT NOT NULL,
  callback_url TEXT, ssh_identity_file TEXT, groups_json TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
