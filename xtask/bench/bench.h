/* What the programs of `cargo xtask bench peers` share: system calls without a libc, so that nothing
 * but the contestant is measured, and the page that services write their times to. x86_64 only. */
#pragma once

typedef unsigned int u32;
typedef unsigned long u64;
typedef long i64;

enum {
  SYS_read = 0, SYS_write = 1, SYS_open = 2, SYS_close = 3, SYS_mmap = 9, SYS_pause = 34,
  SYS_nanosleep = 35, SYS_getpid = 39, SYS_socket = 41, SYS_connect = 42, SYS_fork = 57,
  SYS_vfork = 58, SYS_execve = 59, SYS_exit = 60, SYS_wait4 = 61, SYS_kill = 62, SYS_getcwd = 79,
  SYS_mkdir = 83, SYS_mount = 165, SYS_iopl = 172, SYS_reboot = 169, SYS_futex = 202, SYS_getdents64 = 217,
  SYS_clock_gettime = 228, SYS_clone3 = 435, SYS_dup2 = 33, SYS_setsid = 112,
};

static inline i64 call6(i64 number, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f) {
  register i64 r10 __asm__("r10") = d;
  register i64 r8 __asm__("r8") = e;
  register i64 r9 __asm__("r9") = f;
  i64 result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
#define call(n, a, b, c, d) call6(n, (i64)(a), (i64)(b), (i64)(c), (i64)(d), 0, 0)

/* int main(argc, argv, envp) of a program that has no libc. */
int bench_main(int argc, char **argv, char **envp);
__asm__(".globl _start\n_start:\n xor %ebp,%ebp\n mov (%rsp),%edi\n lea 8(%rsp),%rsi\n"
        " lea 16(%rsp,%rdi,8),%rdx\n and $-16,%rsp\n call bench_main\n mov %eax,%edi\n"
        " mov $60,%eax\n syscall\n");

/* An instruction that does nothing, but that a profile begins ('1') and ends ('2') at. */
#define MARK(which) __asm__ volatile(".byte 0x0f,0x1f,0x84,0x00,'S','H','K'," which)

#define SLOTS 1024
#define PAGE_PATH "/bench/page"

struct slot {
  u64 at;
  u32 pid;
  u32 starts;
};

struct page {
  u32 wanted;    /* How many services there are. */
  u32 started;   /* How many have run for the first time. */
  u32 ready;     /* 1 once all have; somebody waits for it (futex). */
  u32 restarted; /* How often a service has run again; somebody waits for it (futex). */
  u64 began;     /* When the contestant was executed. */
  u64 last;      /* When the last service ran for the first time. */
  u64 cpu;       /* What PID 1 had used when the contestant was executed. */
  struct slot slots[SLOTS];
};

static inline u64 now(void) {
  struct { i64 s, ns; } t = {0, 0};
  call(SYS_clock_gettime, 1, &t, 0, 0);
  return (u64)t.s * 1000000000UL + (u64)t.ns;
}

static inline struct page *map_page(void) {
  i64 fd = call(SYS_open, PAGE_PATH, 2, 0, 0);
  i64 at = call6(SYS_mmap, 0, sizeof(struct page), 3, 1, fd, 0);
  call(SYS_close, fd, 0, 0, 0);
  return (struct page *)at;
}

static inline void futex_wait(u32 *word, u32 while_it_is) {
  call(SYS_futex, word, 0, while_it_is, 0);
}
static inline void futex_wake(u32 *word) { call(SYS_futex, word, 1, 1 << 30, 0); }

static inline u64 length(const char *text) {
  u64 n = 0;
  while (text[n]) n++;
  return n;
}
static inline u32 number(const char *text) {
  u32 n = 0;
  while (*text >= '0' && *text <= '9') n = n * 10 + (u32)(*text++ - '0');
  return n;
}
static inline char *put_text(char *to, const char *text) {
  while (*text) *to++ = *text++;
  *to = 0;
  return to;
}
static inline char *put_number(char *to, u64 n) {
  char digits[24];
  int count = 0;
  do { digits[count++] = (char)('0' + n % 10); n /= 10; } while (n);
  while (count) *to++ = digits[--count];
  *to = 0;
  return to;
}
static inline void sleep_ns(u64 ns) {
  struct { i64 s, ns; } t = {(i64)(ns / 1000000000UL), (i64)(ns % 1000000000UL)};
  call(SYS_nanosleep, &t, 0, 0, 0);
}
/* Reads a file into a buffer and ends it with a NUL; bytes read. */
static inline i64 slurp(const char *path, char *buffer, u64 size) {
  i64 fd = call(SYS_open, path, 0, 0, 0), got = 0;
  if (fd < 0) { buffer[0] = 0; return -1; }
  for (;;) {
    i64 n = call(SYS_read, fd, buffer + got, size - 1 - (u64)got, 0);
    if (n <= 0) break;
    got += n;
  }
  call(SYS_close, fd, 0, 0, 0);
  buffer[got] = 0;
  return got;
}
/* gcc makes calls of these two out of loops and initialisations. */
void *memset(void *to, int byte, u64 n) {
  char *p = to;
  while (n--) *p++ = (char)byte;
  return to;
}
void *memcpy(void *to, const void *from, u64 n) {
  char *p = to;
  const char *q = from;
  while (n--) *p++ = *q++;
  return to;
}
/* Nanoseconds of the processor that PID 1 has used. */
static inline u64 cpu_of_init(void) {
  char text[128];
  slurp("/proc/1/schedstat", text, sizeof text);
  u64 n = 0;
  for (char *p = text; *p >= '0' && *p <= '9'; p++) n = n * 10 + (u64)(*p - '0');
  return n;
}
/* Lines of a file as arguments. */
static inline int lines(char *text, char **words, int most) {
  int count = 0;
  while (*text && count < most - 1) {
    words[count++] = text;
    while (*text && *text != '\n') text++;
    if (*text) *text++ = 0;
  }
  words[count] = 0;
  return count;
}
