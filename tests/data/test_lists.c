/* SPDX-License-Identifier: MIT
 * Lists and tables of images as people write them: headings, quotes, line breaks, columns of labels, and what is
 * refused with which words. */
#define _GNU_SOURCE
#include "data/dataset.h"
#include "files.h"
#include <sys/stat.h>
#include <time.h>

static void list_is(hpt_context *ctx, const char *options, const char *name, const char *content, const char *want) {
    text(name, content);
    const char *got = opens(ctx, options, name);
    if (strcmp(got, want)) FAIL("%s '%s' gave %s, not %s", name, content, got, want);
}
static void list_fails(hpt_context *ctx, const char *options, const char *content, hpt_status status,
                       const char *word) {
    hpt_dataset *ds;
    hpt_config *c = config(options);
    text("bad.txt", content);
    hpt_status st = hpt_dataset_open(ctx, c, at("bad.txt"), &ds);
    if (st != status || !strstr(hpt_last_error(), word))
        FAIL("'%s' gave %s (%s), not %s with '%s'", content, hpt_status_name(st), hpt_last_error(),
             hpt_status_name(status), word);
    hpt_config_destroy(c);
}

TEST(lists_as_people_write_them) {
    hpt_context *ctx = listening();
    char content[400], want[300];
    begin();
    text("a.png", "");
    text("b.png", "");
    text("my photo.png", "");
    text("img/c.png", "");
    text("img/x,y.png", "");
    text("img/say \"hi\".png", "");
    text("#1.png", "");
    text("img/n#2.png", "");
    text("dir/bare", "");
    text("dir/bare two", "");
    /* byte order mark, ends of lines, comments, blanks at the ends, no newline at the end */
    list_is(ctx, "", "l.txt", "\xef\xbb\xbf" "a.png 0\nb.png 1\n", "a.png=0 b.png=1");
    list_is(ctx, "", "l.txt", "\xef\xbb\xbf# mine\r\n\r\n  a.png 0  \r\n\t\r\nb.png\t1 ", "a.png=0 b.png=1");
    list_is(ctx, "", "l.txt", "a.png 0\rb.png 1\r", "a.png=0 b.png=1");
    list_is(ctx, "", "l.txt", "a.png\nb.png", "a.png= b.png=");
    /* blanks, commas and signs in paths */
    list_is(ctx, "", "l.txt", "my photo.png 0\na.png 1\n", "my photo.png=0 a.png=1");
    list_is(ctx, "", "l.csv", "my photo.png,0\na.png,1\n", "my photo.png=0 a.png=1");
    list_is(ctx, "", "l.csv", "my photo.png;0\na.png ; 1\n", "my photo.png=0 a.png=1");
    list_is(ctx, "", "l.txt", "my photo.png\na.png\n", "my photo.png= a.png=");
    list_is(ctx, "", "l.txt", "\"my photo.png\" 0\n\"a.png\",1\n", "my photo.png=0 a.png=1");
    list_is(ctx, "", "l.txt", "img/x,y.png 3\nimg/say \"hi\".png 2\n", "img/x,y.png=3 img/say \"hi\".png=2");
    list_is(ctx, "", "l.csv", "\"img/x,y.png\",3\n\"img/say \"\"hi\"\".png\",2\n",
            "img/x,y.png=3 img/say \"hi\".png=2");
    list_is(ctx, "", "l.txt", "img/n#2.png 1\n\"#1.png\" 0\n", "img/n#2.png=1 #1.png=0");
    list_is(ctx, "", "l.txt", "dir/bare 1\ndir/bare two 0\n", "dir/bare=1 dir/bare two=0");
    list_is(ctx, "", "l.txt", "dir/bare two\ndir/bare\n", "dir/bare two= dir/bare=");
    list_is(ctx, "list_check=0", "l.txt", "no such photo.jpeg 4\n", "no such photo.jpeg=4");
    list_is(ctx, "", "l.txt", "img\\c.png 1\n", "img/c.png=1");
    SAID("backslashes");
    snprintf(content, sizeof content, "%s 0\nimg/c.png 1\n", at("a.png"));
    list_is(ctx, "", "l.txt", content, "a.png=0 img/c.png=1");
    snprintf(want, sizeof want, "list_root=%s", root);
    list_is(ctx, want, "img/l.txt", "a.png 0\n", "a.png=0");
    /* words, numbers as tables write them, several labels */
    list_is(ctx, "", "l.txt", "a.png zebra\nb.png altai\n", "a.png=zebra b.png=altai");
    SAID("2 classes, the words of ");
    SAID(": altai, zebra\n");
    list_is(ctx, "", "l.txt", "a.png partly cloudy\nb.png clear\n", "a.png=partly cloudy b.png=clear");
    list_is(ctx, "", "l.csv", "a.png,\"Smith, John\"\nb.png,x\n", "a.png=Smith, John b.png=x");
    list_is(ctx, "", "l.csv", "a.png,10-20\nb.png,2.0a\n", "a.png=10-20 b.png=2.0a");
    list_is(ctx, "", "l.csv", "a.png,3.0\nb.png,0\n", "a.png=3 b.png=0");
    list_is(ctx, "", "l.csv", "a.png,3,\nb.png,0,\n", "a.png=3 b.png=0");
    list_is(ctx, "", "l.txt", "a.png 0,1,0\nb.png 1, 1, 0\n", "a.png=010 b.png=110");
    list_is(ctx, "", "l.txt", "a.png 0 1 0\nb.png 1  1 0\n", "a.png=010 b.png=110");
    list_is(ctx, "", "l.csv", "a.png,0,1,0\nmy photo.png,1,1,0\n", "a.png=010 my photo.png=110");
    list_is(ctx, "", "l.csv", "a.png;0;1.0\nb.png;1;0\n", "a.png=01 b.png=10");
    list_is(ctx, "", "l.tsv", "a.png\t0\t1\nmy photo.png\t1\t0\n", "a.png=01 my photo.png=10");
    /* headings */
    list_is(ctx, "", "l.csv", "path,label\na.png,zebra\nb.png,altai\n", "a.png=zebra b.png=altai");
    SAID("line 1: a heading; images are column path, labels are column label");
    list_is(ctx, "", "l.csv", "sep=;\nfilename;class\nmy photo.png;1\nb.png;0\n", "my photo.png=1 b.png=0");
    list_is(ctx, "", "l.txt", "path label\nmy photo.png 1\nb.png 0\n", "my photo.png=1 b.png=0");
    list_is(ctx, "", "l.tsv", "\tImage Path\tsplit\tLabel\n0\ta.png\ttrain\t2\n1\tmy photo.png\tval\t0\n",
            "a.png=2 my photo.png=0");
    list_is(ctx, "", "l.csv", ",image,width,class\n0,a.png,3,\"Smith, John\"\n1,\"img/x,y.png\",4,x\n",
            "a.png=Smith, John img/x,y.png=x");
    list_is(ctx, "", "l.csv", "species,file\nzebra,a.png\naltai,b.png\n", "a.png=zebra b.png=altai");
    list_is(ctx, "", "l.csv", "filename\na.png\nb.png\n", "a.png= b.png=");
    list_is(ctx, "", "l.csv", "path,sea,\"sky, blue\"\na.png,0,1\nb.png,1,1\n", "a.png=01 b.png=11");
    hpt_dataset *ds;
    OK(hpt_dataset_open(ctx, NULL, at("l.csv"), &ds));
    OK(hpt_dataset_class_name(ds, 1, want, sizeof want, NULL));
    CHECK(!strcmp(want, "sky, blue"));
    hpt_dataset_destroy(ds);
    end();
}

/* Option label_column, and the same in a descriptor file. */
TEST(lists_whose_column_of_labels_is_named) {
    static const char table[] = "path,label,Species name,3,split\na.png,0,zebra,7,x\nb.png,1,altai,8,y\n";
    hpt_context *ctx = listening();
    hpt_dataset *ds;
    char name[20];
    begin();
    text("a.png", "");
    text("b.png", "");
    list_is(ctx, "", "l.csv", table, "a.png=0 b.png=1");
    static const char *const asked[][2] = {{"Species name", "a.png=zebra b.png=altai"},
                                           {"species_name", "a.png=zebra b.png=altai"},
                                           {"3", "a.png=7 b.png=8"}, {"5", "a.png=x b.png=y"},
                                           {"2", "a.png=0 b.png=1"}, {"split", "a.png=x b.png=y"}};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        hpt_config *c = config("list_check=1");
        OK(hpt_config_set(c, "label_column", asked[i][0]));
        text("l.csv", table);
        OK(hpt_dataset_open(ctx, c, at("l.csv"), &ds));
        OK(hpt_dataset_class_name(ds, (uint32_t)hpt__dataset_label(ds, 0), name, sizeof name, NULL));
        if (strncmp(asked[i][1] + 6, name, strlen(name))) FAIL("%s: %s", asked[i][0], name);
        hpt_dataset_destroy(ds);
        hpt_config_destroy(c);
    }
    /* else three labels */
    list_is(ctx, "label_column=b", "l.csv", "file,a,b,c\na.png,0,1,0\nb.png,1,1,0\n", "a.png=1 b.png=1");
    /* the other one holds the paths */
    list_is(ctx, "label_column=kind", "l.csv", "which,kind\na.png,x\nb.png,y\n", "a.png=x b.png=y");
    list_is(ctx, "label_column=kind", "l.tsv", "kind\tid\tpath\nx\t1\ta.png\ny\t2\tb.png\n", "a.png=x b.png=y");
    text("l.csv", table);
    FAILS(HPT_ERR_OPTION, "has no such column: path,label", hpt_dataset_open(ctx, config("label_column=zebra"),
        at("l.csv"), &ds));
    FAILS(HPT_ERR_OPTION, "has no such column", hpt_dataset_open(ctx, config("label_column=6"), at("l.csv"), &ds));
    FAILS(HPT_ERR_OPTION, "has the images there", hpt_dataset_open(ctx, config("label_column=path"), at("l.csv"), &ds));
    FAILS(HPT_ERR_OPTION, "has the images there", hpt_dataset_open(ctx, config("label_column=1"), at("l.csv"), &ds));
    text("l.csv", "a.png,0,zebra\nb.png,1,altai\n");
    FAILS(HPT_ERR_OPTION, "is no heading with a column of paths", hpt_dataset_open(ctx, config("label_column=3"),
        at("l.csv"), &ds));
    text("l.csv", table);
    text("d.ini", "[dataset]\nname = d\ntrain = l.csv\nlabel_column = Species name\n");
    OK(hpt_dataset_named(ctx, NULL, at("d.ini"), NULL, "train+val", &ds));
    OK(hpt_dataset_class_name(ds, 0, name, sizeof name, NULL));
    CHECK(!strcmp(name, "altai") || !strcmp(name, "zebra"));
    hpt_dataset_destroy(ds);
    end();
}
/* A field in quotes may hold line breaks; errors name the line of the file. */
TEST(fields_with_line_breaks) {
    static char far[3 << 20];
    hpt_context *ctx = listening();
    hpt_dataset *ds;
    begin();
    text("a.png", "");
    text("b.png", "");
    text("new\nline.png", "");
    list_is(ctx, "", "l.csv", "path,note,label\na.png,\"two\nlines, \"\"said\"\" he\",x\nb.png,\"\",y\n",
            "a.png=x b.png=y");
    list_is(ctx, "", "l.csv", "path,note,label\r\na.png,\"two\r\n\r\nlines\",x\r\nb.png,one,y\r\n", "a.png=x b.png=y");
    list_is(ctx, "", "l.csv", "path;\"a\nnote\";label\na.png; \"x\ny\" ;1\nb.png;\"5\"\" \";0\n", "a.png=1 b.png=0");
    list_is(ctx, "", "l.tsv", "path\tnote\tlabel\na.png\t\"x\ny\"\t1\nb.png\tz\t0\n", "a.png=1 b.png=0");
    list_is(ctx, "", "l.csv", "path,label,note\na.png,\"x\ny\",\nb.png,y,\"\n\n\"\n", "a.png=x\ny b.png=y");
    list_is(ctx, "", "l.csv", "\"new\nline.png\",1\na.png,0\n", "new\nline.png=1 a.png=0");
    list_is(ctx, "", "l.csv", "a.png,\"x\ny\"\nb.png,y\n", "a.png=x\ny b.png=y");
    list_is(ctx, "", "l.txt", "# it's \"open\na.png 0\n# \"\nb.png 1\n", "a.png=0 b.png=1"); /* no field */
    list_is(ctx, "", "l.txt", "a.png 5\" pipe\nb.png 7\" pipe\n", "a.png=5\" pipe b.png=7\" pipe");
    list_is(ctx, "", "l.csv", "path,note,label\na.png,5\" pipe,0\nb.png,7\" pipe,1\n", "a.png=0 b.png=1");
    text("l.csv", "path,note,label\na.png,\"two\nlines\",x\nb.png,\"a\nb\nc\",y\nc.png,z,y\n");
    FAILS(HPT_ERR_IO, "l.csv, line 7: ", hpt_dataset_open(ctx, NULL, at("l.csv"), &ds));
    text("l.csv", "path,note,label\na.png,\"never closed,x\nb.png,z,y\n");
    FAILS(HPT_ERR_FORMAT, "l.csv, line 2: a quote that is not closed", hpt_dataset_open(ctx, NULL, at("l.csv"), &ds));
    memset(far, 'x', sizeof far - 1);
    far[100] = '\n';
    memcpy(far, "path,note,label\na.png,\"", 23);
    memcpy(far + sizeof far - 10, "\",x\n", 5);
    text("l.csv", far);
    FAILS(HPT_ERR_FORMAT, "line 2: a quote that is not closed", hpt_dataset_open(ctx, NULL, at("l.csv"), &ds));
    end();
}

TEST(lists_that_are_not_understood_say_how) {
    hpt_context *ctx = listening();
    hpt_dataset *ds;
    begin();
    text("a.png", "");
    text("b.png", "");
    mkdir(at("d.png"), 0777);
    put("u16.txt", "\xff\xfe" "a\0.\0p\0n\0g\0", 12);
    FAILS(HPT_ERR_FORMAT, "UTF-16 text; save the list as UTF-8", hpt_dataset_open(ctx, NULL, at("u16.txt"), &ds));
    put("zero.txt", "a.png 0\nb\0.png 1\n", 17);
    FAILS(HPT_ERR_FORMAT, "line 2: a zero byte", hpt_dataset_open(ctx, NULL, at("zero.txt"), &ds));
    list_fails(ctx, "", "a.png 0\nb.png -1\n", HPT_ERR_FORMAT, "line 2: a negative label");
    list_fails(ctx, "", "a.png 0\nb.png x\n", HPT_ERR_FORMAT,
               "line 2: a word where the lines before have numbers: 'x'; a line is: path, a tab, then");
    list_fails(ctx, "", "a.png x\nb.png 0\n", HPT_ERR_FORMAT,
               "line 2: a number where the lines before have words: '0'");
    list_fails(ctx, "", "a.png 0\nb.png\n", HPT_ERR_FORMAT, "line 2: some lines have a label and some have none");
    list_fails(ctx, "", "a.png\nb.png 0\n", HPT_ERR_FORMAT, "line 2: some lines have a label and some have none");
    list_fails(ctx, "", "a.png 1.5\n", HPT_ERR_FORMAT, "not a label from 0");
    list_fails(ctx, "", "a.png 0\n~/b.png 1\n", HPT_ERR_IO, "write the folder out");
    list_fails(ctx, "", "a.png 3 7\n", HPT_ERR_FORMAT, "several numbers: '3 7'");
    list_fails(ctx, "", "a.png,2,train\n", HPT_ERR_FORMAT,
               "neither 0, 1 nor a token of option label_map: '2'; a line is");
    list_fails(ctx, "", "a.png cat|dog\n", HPT_ERR_FORMAT, "several words in one label");
    list_fails(ctx, "", "a.png 0,1\nb.png 1\n", HPT_ERR_FORMAT,
               "line 2: one label where the lines before have several");
    list_fails(ctx, "", "a.png 1\nb.png 0,1\n", HPT_ERR_FORMAT,
               "line 2: several labels where the lines before have one");
    list_fails(ctx, "", "a.png 0,1\nb.png 1,0,1\n", HPT_ERR_FORMAT, "line 2: 3 values where the lines before have 2");
    list_fails(ctx, "", "\"a.png 0\n", HPT_ERR_FORMAT, "no closing quote");
    list_fails(ctx, "", "\"a.png\"x 0\n", HPT_ERR_FORMAT, "something follows the closing quote");
    list_fails(ctx, "", "a.png 0\ngone.png 0\n", HPT_ERR_IO, "line 2: ");
    list_fails(ctx, "", "d.png 0\n", HPT_ERR_IO, "not a regular file");
    list_fails(ctx, "", "bild,art\na.png,0\n", HPT_ERR_IO, "if this is a heading, call its columns path and label");
    list_fails(ctx, "", "path,label,split\na.png,0\n", HPT_ERR_FORMAT,
               "line 2: fewer columns than the 3 of the heading");
    list_fails(ctx, "", "path,label\na.png,0,1\n", HPT_ERR_FORMAT, "line 2: more columns than the 2 of the heading");
    list_fails(ctx, "", "path,split,fold\na.png,train,0\n", HPT_ERR_FORMAT,
               "one column is called label, or all but the path hold 0 and 1");
    list_fails(ctx, "", "path,label\n,0\n", HPT_ERR_FORMAT, "line 2: no path");
    list_fails(ctx, "", "path,label\n", HPT_ERR_FORMAT, "the list is empty");
    list_fails(ctx, "", "\n# nothing\n", HPT_ERR_FORMAT, "the list is empty");
    list_fails(ctx, "classes=1", "a.png x\nb.png y\n", HPT_ERR_FORMAT,
               "2 different words as labels, option classes says 1");
    list_fails(ctx, "classes=2", "a.png 0,1,1\n", HPT_ERR_FORMAT, "3 values, option classes says 2");
    hpt_config *c = config("arch=resnet10 width=16 stem=small");
    hpt_model *m;
    hpt_result *r;
    text("plain.txt", "a.png\nb.png\n");
    OK(hpt_dataset_open(ctx, NULL, at("plain.txt"), &ds));
    OK(hpt_model_create(ctx, c, &m));
    FAILS(HPT_ERR_ARGUMENT, "plain.txt names images without labels", hpt_model_knn(m, ds, ds, c, &r));
    hpt_dataset_destroy(ds);
    hpt_model_destroy(m);
    hpt_config_destroy(c);
    text("l.csv", "path,label\na.png,zebra\n\"b.png\",altai\n");
    memory_runs_out(ctx, "l.csv");
    text("m.csv", "path,sea,sky\na.png,0,1\nb.png,1,1\n");
    memory_runs_out(ctx, "m.csv");
    end();
}

/* A quarter of a megabyte of anything is read or refused within a fraction of a second: nothing is quadratic. */
TEST(lists_and_tables_cost_their_size) {
    hpt_context *ctx = listening();
    enum { N = 1 << 18 };
    char *p = malloc(N + 1);
    begin();
    text("a.png", "");
    static const char *const parts[] = {"0,", "0 ", "a.", "a.png ", "\"", "\"\",", "a.png,", "\t", ";", ".png,0 ",
                                        "a b ", "a.png x\n", "a.png 0\n", "a.png 0,1\n", "path,", ",", "\\", "a.png\n"};
    for (size_t k = 0; k < 3 * sizeof parts / sizeof *parts; k++) {
        const char *part = parts[k / 3], *head = k % 3 == 0 ? "" : k % 3 == 1 ? "a.png " : "path,label\n";
        size_t n = strlen(head);
        memcpy(p, head, n);
        while (n + strlen(part) <= N) {
            memcpy(p + n, part, strlen(part));
            n += strlen(part);
        }
        put("big.csv", p, n);
        hpt_dataset *ds;
        hpt_config *c = config("list_check=0");
        double begin_s = seconds();
        hpt_status st = hpt_dataset_open(ctx, c, at("big.csv"), &ds);
        double s = seconds() - begin_s;
        if (st == HPT_OK) hpt_dataset_destroy(ds);
        else if (st != HPT_ERR_FORMAT && st != HPT_ERR_IO)
            FAIL("'%s': %s (%s)", part, hpt_status_name(st), hpt_last_error());
        hpt_config_destroy(c);
        if (s > 0.5) FAIL("a quarter of a megabyte of '%s' behind '%s' took %.1f s", part, head, s);
    }
    free(p);
    end();
}
