/* What the kernel itself costs an init: starts n services one after the other, and each again that
 * ends. It reads no file and knows no dependencies. Modes: plain; cgroup (one for each service, the
 * service born in it); controllers (the same, with memory, pids and cpu passed down). */
#include "bench.h"

struct clone_args {
  u64 flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size,
      cgroup;
};

#define CLONE_VM 0x100UL
#define CLONE_VFORK 0x4000UL
#define CLONE_INTO_CGROUP 0x200000000UL
#define ROOT "/sys/fs/cgroup"

static unsigned short of_pid[65536];
static char stack[16384] __attribute__((aligned(16)));

/* Both return twice, so neither may return through a frame that the child could overwrite. */
static inline __attribute__((always_inline)) i64 plain_child(void) {
  return call(SYS_vfork, 0, 0, 0, 0);
}

static char *words[3], *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", 0};

static void execute(void) {
  call(SYS_execve, words[0], words, environment, 0);
  call(SYS_exit, 127, 0, 0, 0);
}

static i64 child_in(i64 cgroup) {
  struct clone_args args = {.flags = CLONE_VM | CLONE_VFORK | CLONE_INTO_CGROUP,
                            .exit_signal = 17,
                            .stack = (u64)stack,
                            .stack_size = sizeof stack,
                            .cgroup = (u64)cgroup};
  i64 result;
  /* The child is on a stack of its own and never comes back from `execute`. */
  __asm__ volatile("syscall\n test %%rax,%%rax\n jnz 1f\n call *%3\n1:"
                   : "=a"(result)
                   : "a"(SYS_clone3), "D"(&args), "b"(&execute), "S"(sizeof args)
                   : "rcx", "r11", "memory", "cc");
  return result;
}

static void write_file(const char *path, const char *value) {
  i64 fd = call(SYS_open, path, 1, 0, 0);
  call(SYS_write, fd, value, length(value), 0);
  call(SYS_close, fd, 0, 0, 0);
}

static void start(u32 index, int cgroups) {
  static char argument[16];
  put_number(argument, index);
  words[0] = "/bench/service";
  words[1] = argument;
  i64 pid;
  if (cgroups) {
    char path[128];
    put_number(put_text(path, ROOT "/services/s"), index);
    call(SYS_mkdir, path, 0755, 0, 0);
    i64 fd = call(SYS_open, path, 0200000, 0, 0);
    pid = child_in(fd);
    call(SYS_close, fd, 0, 0, 0);
  } else {
    pid = plain_child();
    if (pid == 0) execute();
  }
  of_pid[pid & 65535] = (unsigned short)(index + 1);
}

int bench_main(int argc, char **argv, char **envp) {
  (void)argc, (void)envp;
  int cgroups = argv[1][0] == 'c';
  if (cgroups) {
    if (argv[1][1] == 'o') write_file(ROOT "/cgroup.subtree_control", "+memory +pids +cpu");
    call(SYS_mkdir, ROOT "/services", 0755, 0, 0);
    if (argv[1][1] == 'o') write_file(ROOT "/services/cgroup.subtree_control", "+memory +pids +cpu");
  }
  u32 n = number(argv[2]);
  for (u32 index = 0; index < n; index++) start(index, cgroups);
  for (;;) {
    i64 pid = call(SYS_wait4, -1, 0, 0, 0);
    u32 index = pid > 0 ? of_pid[pid & 65535] : 0;
    if (index) {
      of_pid[pid & 65535] = 0;
      start(index - 1, cgroups);
    }
  }
}
