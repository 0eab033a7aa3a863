/* SPDX-License-Identifier: MIT
 * XML one tag at a time, for annotation files: elements and their text; attributes, comments and declarations are
 * passed over. Nothing is built, depth is limited. */
#ifndef HPT__XMLSCAN_H
#define HPT__XMLSCAN_H
#include "core/status.h"

enum { HPT__XML_NAMES = 8, HPT__XML_DEPTH = 64 };
typedef enum hpt__xml_event { HPT__XML_END, HPT__XML_OPEN, HPT__XML_CLOSE } hpt__xml_event;
typedef struct hpt__xml {
    const char *p, *path;       /* path: for error texts */
    int depth;                  /* elements that are open, the one that just opened included, one that closed not */
    char name[HPT__XML_NAMES][32];      /* of the open ones from the root; deeper ones have none */
    char tag[32];               /* the element that opened or closed, cut */
    const char *text;           /* after a tag that opened: up to the next one, without blanks around it */
    size_t len;
} hpt__xml;

/* text ends with 0 */
void hpt__xml_begin(hpt__xml *x, const char *text, const char *path);
hpt_status hpt__xml_next(hpt__xml *x, hpt__xml_event *event);   /* HPT_ERR_FORMAT: tags that do not fit */
#endif
