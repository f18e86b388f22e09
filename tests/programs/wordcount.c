/* Counts words, as a worker of a job with the stages "map" and "reduce": Disco's worker protocol in
 * C, without a JSON library. It understands no more of JSON than it is told by the tests: inputs are
 * one file each, and names have no escapes. What it writes, and reads again in the reduce, are lines
 * of "length key length value".
 *
 * How it is to fail is its first argument; see `fail`. */

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LABELS 3
#define BUCKETS 65536

struct entry {
    char *word;
    long count;
    struct entry *next;
};

static struct entry *table[BUCKETS];
static char *answer;  /* payload of the last answer */
static char name[11]; /* and its name */

static void say(const char *message, const char *payload) {
    fprintf(stderr, "%s %zu %s\n", message, strlen(payload), payload);
    fflush(stderr);
}

static void hear(void) {
    size_t length;
    if (scanf("%10s %zu", name, &length) != 2 || getchar() != ' ') exit(10);
    answer = realloc(answer, length + 1);
    if (fread(answer, 1, length, stdin) != length || getchar() != '\n') exit(11);
    answer[length] = 0;
}

static void ask(const char *message, const char *payload) {
    say(message, payload);
    hear();
}

/* The text that follows `"key": "` in the last answer. */
static char *text_of(const char *key) {
    char pattern[64];
    snprintf(pattern, sizeof pattern, "\"%s\": \"", key);
    char *start = strstr(answer, pattern);
    if (!start) exit(12);
    start += strlen(pattern);
    return strndup(start, strcspn(start, "\""));
}

static unsigned long hash(const char *word) {
    unsigned long value = 5381;
    while (*word) value = value * 33 + (unsigned char)*word++;
    return value;
}

static void add(const char *word, long count) {
    struct entry **place = &table[hash(word) % BUCKETS];
    while (*place && strcmp((*place)->word, word)) place = &(*place)->next;
    if (!*place) {
        *place = calloc(1, sizeof **place);
        (*place)->word = strdup(word);
    }
    (*place)->count += count;
}

static void read_words(FILE *file) {
    char word[1024];
    size_t length = 0;
    int c;
    do {
        c = getc(file);
        if (c != EOF && (isalpha(c) || c == '\'') && length < sizeof word - 1) {
            word[length++] = tolower(c);
        } else if (length) {
            word[length] = 0;
            add(word, 1);
            length = 0;
        }
    } while (c != EOF);
}

static void read_counts(FILE *file) {
    size_t length;
    while (fscanf(file, "%zu", &length) == 1) {
        char *word = calloc(1, length + 1);
        long count;
        if (getc(file) != ' ' || fread(word, 1, length, file) != length) exit(13);
        if (fscanf(file, " %*u %ld", &count) != 1) exit(14);
        add(word, count);
        free(word);
    }
}

static void read_input(const char *url, int is_map) {
    FILE *file = fopen(strncmp(url, "file://", 7) ? url : url + 7, "rb");
    if (!file) {
        say("ERROR", "\"an input cannot be opened\"");
        pause();
    }
    is_map ? read_words(file) : read_counts(file);
    fclose(file);
}

/* Read what the last answer, an INPUT, names; return how long the list of ids is. */
static void read_inputs(int is_map, char *known) {
    for (char *row = strstr(answer, "[["); row; row = strstr(row + 1, ", [")) {
        char *ok = strstr(row, "\"ok\"");
        char *id = row + strspn(row, ",[ ");
        if (!ok) return;
        if (*known) strcat(known, ", ");
        strncat(known, id, strcspn(id, ","));
        char *url = strchr(strstr(ok, "[["), '"') + 1;
        char *end = strchr(url, '"');
        *end = 0;
        read_input(url, is_map);
        row = end + 1;
    }
}

static void write_label(int label) {
    char path[16], payload[64];
    snprintf(path, sizeof path, "out-%d", label);
    FILE *file = fopen(path, "wb");
    for (int bucket = 0; bucket < BUCKETS; bucket++)
        for (struct entry *entry = table[bucket]; entry; entry = entry->next) {
            if ((int)(hash(entry->word) % LABELS) != label) continue;
            char count[24];
            int digits = snprintf(count, sizeof count, "%ld", entry->count);
            fprintf(file, "%zu %s %d %s\n", strlen(entry->word), entry->word, digits, count);
        }
    long size = ftell(file);
    fclose(file);
    snprintf(payload, sizeof payload, "[%d, \"%s\", %ld]", label, path, size);
    ask("OUTPUT", payload);
}

static void fail(const char *how) {
    if (!strcmp(how, "exit")) exit(3);
    if (!strcmp(how, "crash")) abort();
    if (!strcmp(how, "garbage")) {
        fprintf(stderr, "Segmentation fault (core dumped)\n");
        exit(0);
    }
    if (!strcmp(how, "fatal")) say("FATAL", "\"this can never work\"");
    if (!strcmp(how, "error")) say("ERROR", "\"better luck next time\"");
    if (!strcmp(how, "half")) write(2, "MSG 100 \"th", 11);
    for (;;) pause();
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "";
    if (!strcmp(how, "silence")) fail(how);
    char hello[64], exclude[1 << 16], known[1 << 15] = "";
    snprintf(hello, sizeof hello, "{\"version\": \"1.1\", \"pid\": %d}", getpid());
    ask("WORKER", hello);
    ask("TASK", "\"\"");
    int is_map = !strcmp(text_of("stage"), "map");
    if (!strcmp(how, "once")) { /* until its file, which outlives the attempt, is there */
        FILE *mark = fopen(argv[2], "r");
        if (!mark) {
            fclose(fopen(argv[2], "w"));
            fail("error");
        }
    } else if (*how) {
        fail(how);
    }
    ask("MSG", is_map ? "\"mapping\"" : "\"reducing\"");
    ask("INPUT", "\"\"");
    for (;;) {
        int complete = !strncmp(answer, "[\"done\"", 7);
        read_inputs(is_map, known);
        if (complete) break;
        snprintf(exclude, sizeof exclude, "[\"exclude\", [%s]]", known);
        ask("INPUT", exclude);
    }
    for (int label = 0; label < LABELS; label++) write_label(label);
    say("DONE", "\"\"");
    pause();
    return 0;
}
