/* Loaded into every program that starts on a host: writes down with what arguments and environment it was started. */

#define RECORD "/run/started"

/* The C library of the host is not the one that this is compiled with, so nothing of it but these is used. */
extern int open(const char *, int, ...);
extern int close(int);
extern long read(int, void *, unsigned long);
extern long write(int, const void *, unsigned long);

static char record[64 * 1024];

__attribute__((constructor)) static void lockturn_test_recorder(void)
{
    unsigned long used = 0;
    for (int which = 0; which < 2; which++) {
        int from = open(which ? "/proc/self/environ" : "/proc/self/cmdline", 0 /* O_RDONLY */);
        long got;
        while (from >= 0 && used < sizeof record - 2 && (got = read(from, record + used, sizeof record - 2 - used)) > 0)
            used += (unsigned long)got;
        close(from);
    }
    record[used++] = '\n';
    /* One write to a file opened for appending is not torn. */
    int to = open(RECORD, 1 | 02000 /* O_WRONLY | O_APPEND */);
    if (to >= 0) {
        (void)!write(to, record, used);
        close(to);
    }
}
