/* SPDX-License-Identifier: MIT
 * Which networks a checkpoint holds. They are known by their shape (a ResNet: four stages of numbered blocks and a stem
 * beside them), not by what stands before the names: any wrapper, module or dictionary may. Of several the documented
 * order (docs/checkpoints.md) takes one. */
#ifndef HPT__RECOGNISE_H
#define HPT__RECOGNISE_H
#include "io/tensorfile.h"
#include "nn/efficientnet.h"
#include "nn/net.h"

enum { HPT__CANDIDATES = 32 };
typedef struct hpt__networks hpt__networks;

/* A family's own part of a candidate: the network's own names, as its file under nn/ needs them. */
typedef struct hpt__resnet_names {
    int numbered; /* Sequential: number of the first stage, else 0 */
    char stage[4][16], stem_conv[24], stem_norm[24]; /* what torchvision calls layer1.., conv1, bn1 */
} hpt__resnet_names;

/* An EfficientNet's: the file's names of its blocks with the dot behind ("blocks.", "2.", ""), and of conv_stem, bn1,
 * conv_head, bn2. */
typedef struct hpt__efficientnet_names {
    int scheme;
    int start[HPT__EFFICIENTNET_STAGES + 1]; /* blocks before each stage, and all */
    char blocks[16], end[4][16];
    int open; /* its flavour is 1: a default, 2: what the file's own name says; another may be asked for */
    const char *other; /* what it is if its first names tell that it is none */
} hpt__efficientnet_names;

typedef struct hpt__candidate {
    const char *prefix; /* not terminated: the start of a tensor's name, "state_dict/module.encoder_q." */
    int prefix_len;
    const char *shown; /* the prefix as the file has it, wrappers and all: for people, and for option backbone_prefix */
    int shown_len;
    uint32_t at, end; /* tensors under the prefix, in hpt__networks.order */
    hpt__family_id family;
    const char *naming; /* how the network's own names are built, for reports */
    union {
        hpt__resnet_names resnet;
        hpt__efficientnet_names efficientnet;
    } own;
    const hpt__ftensor *stem, *block; /* weights of stem (NULL: none found) and first block */
    hpt__arch arch; /* name empty: none that libhpt knows, and why */
    char why[200];
    char note[300]; /* what the file does not say of arch and was decided here, and how it is decided otherwise */
    int head; /* a MoCo head was found beside it: arch.dim and mlp are the file's */
    int preference, file_order, same; /* smaller is better; same: another name of the tensors of a better candidate */
} hpt__candidate;

struct hpt__networks {
    const hpt__tensorfile *f;
    /* the tensors of f, in its order, without the wrappers in their names; f->t where there are none */
    hpt__ftensor *t;
    char *text;      /* those names; NULL: t is f->t */
    const hpt__ftensor **order; /* all of t by name */
    hpt__candidate c[HPT__CANDIDATES]; /* best first */
    int n;
};

/* How a family's networks are named in files. */
typedef struct hpt__naming {
    const char *mark; /* what a file has not in which none is: "layer1.0.conv1.weight with a stem beside it" */
    const char *classifier[6]; /* names that the linear layer behind the features has, to a NULL */
    const char *format;        /* hpt_model_save's where no one asks for one */
    int untold; /* tensors do not tell all of an architecture: a file of ours keeps its name */
    /* Is t the tensor by which one is known? Then it fills prefix, block, naming and the names of its parts. */
    int (*begins)(const hpt__networks *r, const hpt__ftensor *t, hpt__candidate *c);
    void (*derive)(const hpt__networks *r, hpt__candidate *c);     /* stem, and arch or why */
    int (*inside)(const hpt__candidate *c, const char *name, char *canonical, size_t size);
    const char *(*looks_like)(const char *canonical);
    const char *(*no_network)(const char *name);
    /* What a tensor tells that the network wants and the file has in another shape (got) or not at all (NULL), as the
     * end of a message; "" nothing. */
    void (*unfit)(const hpt__networks *r, const hpt__candidate *c, const hpt__tensor *want, const hpt__ftensor *got,
                  char *text, size_t size);
    /* As hpt__candidate_is(); NULL: if the architectures are the same. */
    int (*is)(const hpt__candidate *c, const hpt__arch *asked);
    /* An architecture in words behind its name ("of width 64, stem imagenet"), as options ("arch=resnet50 width=64
     * stem=imagenet"), and as the entries of a report (not 0: out of memory). */
    void (*words)(const hpt__arch *a, char *text, size_t size);
    void (*options)(const hpt__arch *a, char *text, size_t size);
    int (*entries)(const hpt__arch *a, json_t *report);
    /* The name of a tensor ("fc.": of the classifier) in a format of hpt_model_save; NULL: libhpt's. */
    void (*written)(const char *format, const char *name, char *out, size_t size);
    /* What is lost in this format, as the end of a message; NULL or "": nothing. */
    void (*loses)(const hpt__arch *a, const char *format, char *text, size_t size);
} hpt__naming;
extern const hpt__naming hpt__naming_resnet, hpt__naming_efficientnet;

hpt_status hpt__recognise(const hpt__tensorfile *f, hpt__networks *r);
void hpt__networks_fini(hpt__networks *r);
/* The candidate that option backbone_prefix names, the best one if that is empty; *c NULL if the file has none at all.
 */
hpt_status hpt__networks_choose(const hpt__networks *r, const char *wanted, const hpt__candidate **c);
/* What the file calls a tensor of t, and how much of that is its first len bytes without wrappers and what wraps the
 * rest. */
const char *hpt__networks_name(const hpt__networks *r, const hpt__ftensor *t);
size_t hpt__networks_shown(const hpt__networks *r, const hpt__ftensor *t, size_t len);
/* Tensor a + b under the candidate's prefix, NULL if none. */
const hpt__ftensor *hpt__networks_part(const hpt__networks *r, const hpt__candidate *c, const char *a, const char *b);
int hpt__is_word(const char *p, size_t n, const char *words);      /* of a list parted by blanks */
/* What a part of a tensor's name tells of any network that was altered (weight norm, pruning, adapters); NULL: nothing.
 */
const char *hpt__looks_altered(const char *part, size_t n);
/* Tensor called prefix + name, NULL if none; prefix of len bytes. */
const hpt__ftensor *hpt__networks_find(const hpt__networks *r, const char *prefix, int len, const char *name);
/* 1: a tensor of this name under the candidate's prefix belongs to stem or stages; canonical is then its name as
 * torchvision has it. 0: something beside the backbone (a head, a queue). */
int hpt__candidate_inside(const hpt__candidate *c, const char *name, char *canonical, size_t size);
/* The tensor of the projection head that libhpt calls name ("fc.0.weight"), where its producer keeps it. */
const hpt__ftensor *hpt__candidate_head(const hpt__networks *r, const hpt__candidate *c, const char *name);
/* Is the candidate what was asked for? 2: it can be taken so, though the file speaks of another. */
int hpt__candidate_is(const hpt__candidate *c, const hpt__arch *asked);
/* What a file without any network tells of the one in it, NULL if nothing. */
const char *hpt__no_network(const hpt__networks *r);
/* What an unknown tensor inside a backbone tells of the network, NULL if nothing. */
const char *hpt__looks_like(const hpt__candidate *c, const char *canonical);
/* The naming of an architecture's family. */
const hpt__naming *hpt__naming_of(const hpt__arch *a);
/* What is looked for in a file and was not found, of all families or (a not NULL) of one. */
void hpt__networks_marks(const hpt__arch *a, char *text, size_t size);
/* Who wrote the file, as far as names and values tell; NULL if they do not. */
const char *hpt__producer(const hpt__networks *r, const hpt__candidate *c);
#endif
