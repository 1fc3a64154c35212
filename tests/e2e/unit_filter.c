// Runs a command with the system calls that the service's unit leaves it, as systemd would: `unit_filter COMMAND [ARGUMENT]...`
// What the unit forbids ends the process by SIGSYS, where systemd answers EPERM: so that no test passes because the daemon gets along without.
// `unit_filter.py` makes allowed_calls.h of the unit, and compiles this.

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(action) BPF_STMT(BPF_RET | BPF_K, (action))
// What follows is skipped so far unless the loaded word is that value.
#define UNLESS(value, skipped) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (skipped))
#define MASK(bits) BPF_STMT(BPF_ALU | BPF_AND | BPF_K, (bits))
#define ALLOW_IF(value) UNLESS((value), 1), ANSWER(SECCOMP_RET_ALLOW)

static struct sock_filter program[] = {
    // SystemCallArchitectures=native
    LOAD(arch),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE, 1, 0),
    ANSWER(SECCOMP_RET_KILL_PROCESS),
    LOAD(nr),
    // RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
    UNLESS(SYS_socket, 8),
    LOAD(args[0]),
    ALLOW_IF(AF_UNIX),
    ALLOW_IF(AF_INET),
    ALLOW_IF(AF_INET6),
    ANSWER(SECCOMP_RET_ERRNO | EAFNOSUPPORT),
    // MemoryDenyWriteExecute=yes
    UNLESS(SYS_mmap, 5),
    LOAD(args[2]),
    MASK(PROT_WRITE | PROT_EXEC),
    UNLESS(PROT_WRITE | PROT_EXEC, 1),
    ANSWER(SECCOMP_RET_KILL_PROCESS),
    ANSWER(SECCOMP_RET_ALLOW),
    UNLESS(SYS_mprotect, 5),
    LOAD(args[2]),
    MASK(PROT_EXEC),
    UNLESS(PROT_EXEC, 1),
    ANSWER(SECCOMP_RET_KILL_PROCESS),
    ANSWER(SECCOMP_RET_ALLOW),
    // SystemCallFilter=…
#include "allowed_calls.h"
    ANSWER(SECCOMP_RET_KILL_PROCESS),
};

int main(int count, char **arguments) {
    struct sock_fprog filter = {.len = sizeof program / sizeof *program, .filter = program};
    if (count < 2) return 2;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0)) {
        perror("unit_filter");
        return 1;
    }
    execvp(arguments[1], arguments + 1);
    perror(arguments[1]);
    return 127;
}
