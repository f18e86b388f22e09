/* The map and the reduce of a word count as an external program. Its parameters say what is no word:
 * a dict with the item "skip". What it is to do wrong, the parameter "fail" says. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char skip[64], fail[64];

static void read_parameters(void) {
    long left;
    if (scanf("%ld", &left) != 1) exit(9);
    getchar();
    while (left > 0) {
        size_t length;
        int used = 0;
        char key[64] = "", value[64] = "";
        if (scanf("%zu%n", &length, &used) != 1) exit(9);
        left -= used + 1 + length + 1;
        getchar();
        if (fread(key, 1, length, stdin) != length || scanf(" %zu%n", &length, &used) != 1) exit(9);
        left -= used + length + 1;
        getchar();
        if (fread(value, 1, length, stdin) != length) exit(9);
        getchar();
        strcpy(strcmp(key, "skip") ? fail : skip, value);
    }
}

static char *read_item(uint32_t *length) {
    if (fread(length, 4, 1, stdin) != 1) return NULL;
    char *data = calloc(1, *length + 1);
    if (fread(data, 1, *length, stdin) != *length) exit(9);
    return data;
}

static void write_number(uint32_t number) { fwrite(&number, 4, 1, stdout); }

static void write_item(const char *data) {
    write_number(strlen(data));
    fputs(data, stdout);
}

static void map(void) {
    uint32_t length;
    char *key, *line, *words[1000];
    while ((key = read_item(&length))) {
        uint32_t count = 0;
        line = read_item(&length);
        for (char *word = strtok(line, " \n"); word && count < 1000; word = strtok(NULL, " \n"))
            if (strcmp(word, skip)) words[count++] = word;
        write_number(count);
        for (uint32_t i = 0; i < count; i++) {
            write_item(words[i]);
            write_item("1");
        }
        free(key);
        free(line);
    }
}

/* Keys come in order, equal ones together. */
static void reduce(void) {
    uint32_t length;
    char *key, number[24], *last = NULL;
    long total = 0;
    do {
        key = read_item(&length);
        if (last && (!key || strcmp(key, last))) {
            snprintf(number, sizeof number, "%ld", total);
            write_number(1);
            write_item(last);
            write_item(number);
            total = 0;
        }
        if (key) total += atol(read_item(&length));
        free(last);
        last = key;
    } while (key);
}

int main(int argc, char **argv) {
    if (argc != 2) return 9;
    read_parameters();
    fprintf(stderr, "**<MSG> %s without %s\n", argv[1], skip);
    if (!strcmp(fail, "error")) fprintf(stderr, "**<ERR> no such column\n");
    if (!strcmp(fail, "exit")) fprintf(stderr, "out of ideas\n");
    if (*fail) return 3;
    strcmp(argv[1], "map") ? reduce() : map();
    return 0;
}
