/* Looks at the contestant from beside: waits (by futex, it never polls) until all services have run,
 * and tells times, memory, wake-ups and restarts on the console, a line each: `BENCH KEY NUMBER`. */
#include "bench.h"

#define SECOND 1000000000UL
#define RESTARTS 20

static char buffer[1 << 16];
static struct page *page;

static void tell(const char *key, u64 value) {
  char line[128];
  char *end = put_text(put_number(put_text(put_text(put_text(line, "BENCH "), key), " "), value), "\n");
  call(SYS_write, 1, line, end - line, 0);
}

/* Waits until `*word` is another than `old`; 0 when those seconds were not enough. */
static int await(u32 *word, u32 old, u64 seconds) {
  u64 until = now() + seconds * SECOND;
  while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == old) {
    u64 at = now();
    if (at >= until) return 0;
    struct { i64 s, ns; } left = {(i64)((until - at) / SECOND), (i64)((until - at) % SECOND)};
    call(SYS_futex, word, 0, old, &left);
  }
  return 1;
}

/* The number behind `key` in `text`. */
static u64 field(const char *text, const char *key) {
  u64 n = length(key);
  for (const char *p = text; *p; p++) {
    u64 i = 0;
    if (p != text && p[-1] != '\n') continue;
    while (i < n && p[i] == key[i]) i++;
    if (i < n) continue;
    for (p += n; *p == ' ' || *p == '\t' || *p == ':';) p++;
    return number(p);
  }
  return 0;
}

static const char *of(u32 pid, const char *file) {
  static char path[64];
  put_text(put_text(put_number(put_text(path, "/proc/"), pid), "/"), file);
  return path;
}

static int is_service(u32 pid) {
  for (u32 i = 0; i < SLOTS; i++)
    if (page->slots[i].pid == pid) return 1;
  return 0;
}

struct tree { u64 processes, pss, init_switches, other_switches; };

/* Everything that is a process, and neither a service, nor this, nor the kernel's. */
static struct tree look(int memory) {
  static char names[1 << 15];
  struct tree tree = {0, 0, 0, 0};
  u32 self = (u32)call(SYS_getpid, 0, 0, 0, 0);
  i64 dir = call(SYS_open, "/proc", 0200000, 0, 0), got;
  while ((got = call(SYS_getdents64, dir, names, sizeof names, 0)) > 0)
    for (i64 at = 0; at < got; at += *(unsigned short *)(names + at + 16)) {
      const char *name = names + at + 19;
      u32 pid = number(name);
      if (pid == 0 || pid == self || is_service(pid)) continue;
      slurp(of(pid, "status"), buffer, sizeof buffer);
      if (field(buffer, "VmSize") == 0) continue; /* A thread of the kernel. */
      u64 switches = field(buffer, "voluntary_ctxt_switches") + field(buffer, "nonvoluntary_ctxt_switches");
      tree.processes++;
      if (pid == 1) tree.init_switches = switches;
      else tree.other_switches += switches;
      if (memory) {
        slurp(of(pid, "smaps_rollup"), buffer, sizeof buffer);
        tree.pss += field(buffer, "Pss");
      }
    }
  call(SYS_close, dir, 0, 0, 0);
  return tree;
}

static void memory(void) {
  slurp(of(1, "smaps_rollup"), buffer, sizeof buffer);
  tell("init-rss-kib", field(buffer, "Rss"));
  tell("init-pss-kib", field(buffer, "Pss"));
  tell("init-anonymous-kib", field(buffer, "Anonymous"));
  struct tree tree = look(1);
  tell("tree-pss-kib", tree.pss);
  tell("tree-processes", tree.processes);
}

static void idle(void) {
  struct tree before = look(0);
  sleep_ns(10 * SECOND);
  struct tree after = look(0);
  tell("idle-init-switches", after.init_switches - before.init_switches);
  tell("idle-other-switches", after.other_switches - before.other_switches);
}

static void restarts(void) {
  for (u32 i = 0; i < RESTARTS; i++) {
    u32 index = i * 37 % page->wanted;
    struct slot *slot = &page->slots[index];
    sleep_ns(SECOND / 10);
    u32 old = __atomic_load_n(&page->restarted, __ATOMIC_SEQ_CST), starts = slot->starts;
    u64 at = now();
    call(SYS_kill, slot->pid, 9, 0, 0);
    /* Some restart what needs it along, and that may run before it. */
    while (__atomic_load_n(&slot->starts, __ATOMIC_SEQ_CST) == starts && await(&page->restarted, old, 5))
      old = __atomic_load_n(&page->restarted, __ATOMIC_SEQ_CST);
    if (slot->starts != starts) tell("restart-ns", slot->at - at);
    else tell("restart-lost", 1);
  }
}

/* Starts the words of the file `path`, if there is one; its pid. */
static i64 start(const char *path) {
  static char text[512], *words[16];
  static char *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", 0};
  if (slurp(path, text, sizeof text) <= 0) return -1;
  lines(text, words, 16);
  i64 pid = call(SYS_fork, 0, 0, 0, 0);
  if (pid == 0) {
    call(SYS_execve, words[0], words, environment, 0);
    call(SYS_exit, 127, 0, 0, 0);
  }
  return pid;
}

/* Connects to the control socket named in /bench/control; below 0 where there is none. */
static i64 connect_control(void) {
  struct { unsigned short family; char path[108]; } address = {1, {0}};
  if (slurp("/bench/control", address.path, sizeof address.path) <= 0) return -1;
  i64 fd = call(SYS_socket, 1, 1, 0, 0);
  if (call(SYS_connect, fd, &address, 2 + length(address.path) + 1, 0) < 0) return -1;
  return fd;
}

static u64 ask(i64 fd) {
  static const char question[] = "{\"method\":\"org.varlink.service.GetInfo\"}";
  u64 at = now();
  call(SYS_write, fd, question, sizeof question, 0);
  for (;;) {
    i64 got = call(SYS_read, fd, buffer, sizeof buffer, 0);
    if (got <= 0 || buffer[got - 1] == 0) return now() - at;
  }
}

/* What a reload costs PID 1, and how long it keeps others waiting meanwhile: of what has not changed,
 * or after a change. */
static void reload(int changed) {
  i64 fd = connect_control();
  u64 longest = 0, quiet = 0;
  for (int i = 0; fd >= 0 && i < 20; i++) {
    u64 took = ask(fd);
    if (took > quiet) quiet = took;
    sleep_ns(SECOND / 1000);
  }
  u64 cpu = cpu_of_init(), at = now();
  i64 pid = start("/bench/reload");
  if (pid < 0) return;
  while (call(SYS_wait4, pid, 0, fd >= 0 ? 1 : 0, 0) == 0) {
    u64 took = ask(fd);
    if (took > longest) longest = took;
    sleep_ns(SECOND / 5000);
  }
  tell(changed ? "change-ns" : "reload-ns", now() - at);
  sleep_ns(SECOND);
  tell(changed ? "change-init-cpu-ns" : "reload-init-cpu-ns", cpu_of_init() - cpu);
  if (fd >= 0) {
    if (!changed) tell("answer-quiet-ns", quiet);
    tell(changed ? "answer-change-ns" : "answer-reload-ns", longest);
    call(SYS_close, fd, 0, 0, 0);
  }
}

/* Appends a line to a file, as /bench/change says: path and line. Whether it was done. */
static int change(void) {
  static char text[512], *words[3];
  if (slurp("/bench/change", text, sizeof text) <= 0) return 0;
  lines(text, words, 3);
  i64 fd = call(SYS_open, words[0], 02001, 0, 0); /* O_WRONLY | O_APPEND */
  i64 put = call(SYS_write, fd, words[1], length(words[1]), 0);
  call(SYS_close, fd, 0, 0, 0);
  if (put <= 0) tell("change-lost", 1);
  return put > 0;
}

/* A thousand orphans a second, for three seconds: each ends as a child of PID 1. */
static void storm(void) {
  u64 cpu = cpu_of_init();
  for (int i = 0; i < 3000; i++) {
    i64 pid = call(SYS_vfork, 0, 0, 0, 0);
    if (pid == 0) {
      if (call(SYS_fork, 0, 0, 0, 0) == 0) sleep_ns(SECOND / 100);
      call(SYS_exit, 0, 0, 0, 0);
    }
    call(SYS_wait4, pid, 0, 0, 0);
    sleep_ns(SECOND / 1000);
  }
  sleep_ns(SECOND / 10);
  tell("storm-init-cpu-ns", cpu_of_init() - cpu);
}

/* Output of the words of a file, as it is. */
static void show(const char *path) {
  i64 pid = start(path);
  if (pid > 0) call(SYS_wait4, pid, 0, 0, 0);
}

/* All symbols of the kernel, on the port of QEMU's debug console: the serial line would take minutes. */
static void symbols(void) {
  i64 fd = call(SYS_open, "/proc/kallsyms", 0, 0, 0), got;
  call(SYS_iopl, 3, 0, 0, 0);
  while ((got = call(SYS_read, fd, buffer, sizeof buffer, 0)) > 0) {
    const char *from = buffer;
    __asm__ volatile("rep outsb" : "+S"(from), "+c"(got) : "d"(0xe9) : "memory");
  }
  call(SYS_close, fd, 0, 0, 0);
}

int bench_main(int argc, char **argv, char **envp) {
  (void)argc, (void)argv, (void)envp;
  page = map_page();
  if (slurp("/bench/symbols", buffer, sizeof buffer) >= 0) symbols();
  slurp("/bench/limit", buffer, sizeof buffer);
  if (!await(&page->ready, 0, number(buffer))) {
    tell("started-only", page->started);
  } else {
    tell("ready-ns", page->last - page->began);
    tell("ready-init-cpu-ns", cpu_of_init() - page->cpu);
    if (slurp("/bench/brief", buffer, sizeof buffer) >= 0) goto end;
    sleep_ns(3 * SECOND);
    memory();
    idle();
    restarts();
    show("/bench/show-phases");
    show("/bench/show-boot");
    reload(0);
    show("/bench/show-reload");
    if (change()) {
      reload(1);
      show("/bench/show-change");
    }
    if (slurp("/bench/storm", buffer, sizeof buffer) >= 0) storm();
    show("/bench/show-storm");
  end:
    tell("end", 1);
  }
  /* LINUX_REBOOT_CMD_RESTART: ends the machine, whatever the contestant thinks. */
  call(SYS_reboot, 0xfee1dead, 672274793, 0x1234567, 0);
  return 0;
}
