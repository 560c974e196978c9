/* A service that says what it is told to say, by the functions of libsystemd. Commands come line by
 * line from the FIFO of the first argument, answers go to the file of the second; further arguments
 * are commands that are carried out before any other. `|` stands for a line break in what is said. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

static FILE *answers;
static int state = -1;
static int pipes[64];
static int count;

static void answer(const char *verb, long value) {
        fprintf(answers, "%s %ld\n", verb, value);
        fflush(answers);
}

static void lines(char *text) {
        for (; *text; text++)
                if (*text == '|')
                        *text = '\n';
}

/* A memfd with content, or one end of a pipe whose other end stays here. */
static int make(const char *what) {
        int ends[2];

        if (strcmp(what, "memfd") == 0) {
                state = memfd_create("state", MFD_CLOEXEC);
                return write(state, "kept", 4) == 4 ? state : -1;
        }
        if (strcmp(what, "again") == 0)
                return dup(state);
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -1;
        pipes[count++] = ends[1];
        return ends[0];
}

static void listened(void) {
        char **names = NULL;
        int n = sd_listen_fds_with_names(0, &names);

        fprintf(answers, "listen %d", n);
        for (int i = 0; i < n; i++) {
                char text[5] = "";
                ssize_t got = pread(SD_LISTEN_FDS_START + i, text, 4, 0);
                fprintf(answers, " %s=%s", names[i], got > 0 ? text : "-");
        }
        fprintf(answers, "\n");
        fflush(answers);
}

static void flood(int most) {
        int fds[253];

        for (int i = 0; i < most; i++)
                fds[i] = 2;
        answer("flood", sd_pid_notify_with_fds(0, 0, "STATUS=flooded", fds, most));
}

static void command(char *line) {
        char *rest = strchr(line, ' ');
        uint64_t usec = 0;
        int fd;

        rest = rest ? (*rest = 0, rest + 1) : line + strlen(line);
        lines(rest);
        if (strcmp(line, "say") == 0)
                answer("say", sd_notify(0, rest));
        else if (strcmp(line, "barrier") == 0)
                answer("barrier", sd_notify_barrier(0, 20 * 1000 * 1000));
        else if (strcmp(line, "watchdog") == 0)
                answer("watchdog", sd_watchdog_enabled(0, &usec) > 0 ? (long) usec : -1);
        else if (strcmp(line, "store") == 0) {
                char *what = strsep(&rest, " ");
                fd = make(what);
                answer("store", sd_pid_notify_with_fds(0, 0, rest, &fd, 1));
                if (fd != state)
                        close(fd);
        } else if (strcmp(line, "hangup") == 0) {
                while (count > 0)
                        close(pipes[--count]);
                answer("hangup", 0);
        } else if (strcmp(line, "flood") == 0)
                flood(atoi(rest));
        else if (strcmp(line, "listen") == 0)
                listened();
        else if (strcmp(line, "child") == 0) {
                /* It has ended, and been waited for, when anybody can ask who it was. */
                pid_t child = fork();
                if (child == 0)
                        _exit(sd_notify(0, rest) > 0 ? 0 : 1);
                waitpid(child, &fd, 0);
                answer("child", WEXITSTATUS(fd));
        } else if (strcmp(line, "mainpid") == 0) {
                /* The child goes on in the place of its parent, once that one has ended. */
                int ends[2];
                pid_t child;
                if (pipe(ends) < 0)
                        exit(8);
                child = fork();
                if (child > 0) {
                        sd_notifyf(0, "MAINPID=%ld", (long) child);
                        sd_notify_barrier(0, 20 * 1000 * 1000);
                        _exit(0);
                }
                close(ends[1]);
                while (read(ends[0], ends, 1) > 0)
                        ;
                close(ends[0]);
                answer("mainpid", getpid());
        } else if (strcmp(line, "exit") == 0)
                exit(atoi(rest));
        else
                answer("unknown", 0);
}

int main(int argc, char **argv) {
        char *line = NULL;
        size_t size = 0;
        FILE *commands;

        answers = fopen(argv[2], "a");
        for (int i = 3; i < argc; i++)
                command(argv[i]);
        for (;;) {
                commands = fopen(argv[1], "r");
                if (!commands || !answers)
                        return 9;
                while (getline(&line, &size, commands) > 0) {
                        line[strcspn(line, "\n")] = 0;
                        command(line);
                }
                fclose(commands);
        }
}
