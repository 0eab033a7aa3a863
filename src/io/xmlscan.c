/* SPDX-License-Identifier: MIT
 * Contract: xmlscan.h. Names of open elements are kept for the first levels, which is where annotations are; further
 * down they are only counted. */
#include "io/xmlscan.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

void hpt__xml_begin(hpt__xml *x, const char *text, const char *path) { *x = (hpt__xml){.p = text, .path = path}; }

hpt_status hpt__xml_next(hpt__xml *x, hpt__xml_event *event) {
    for (const char *p = x->p; (p = strchr(p, '<'));) {
        p++;
        if (!strncmp(p, "!--", 3)) {
            if (!(p = strstr(p, "-->"))) break;
            continue;
        }
        const char *end = strchr(p, '>');
        if (!end) return hpt__fail(HPT_ERR_FORMAT, "%.700s: a tag is not closed", x->path);
        if (*p == '?' || *p == '!' || end[-1] == '/') {
            p = end;
            continue;
        }
        int closing = *p == '/';
        size_t n = strcspn(p + closing, " \t\r\n>");
        snprintf(x->tag, sizeof x->tag, "%.*s", (int)(n < 31 ? n : 31), p + closing);
        x->p = p = end + 1;
        if (closing) {
            if (!x->depth || (x->depth <= HPT__XML_NAMES && strcmp(x->name[x->depth - 1], x->tag)))
                return hpt__fail(HPT_ERR_FORMAT, "%.700s: </%s> closes nothing", x->path, x->tag);
            x->depth--;
            *event = HPT__XML_CLOSE;
            return HPT_OK;
        }
        if (x->depth < HPT__XML_NAMES) snprintf(x->name[x->depth], sizeof x->name[0], "%s", x->tag);
        if (++x->depth > HPT__XML_DEPTH) return hpt__fail(HPT_ERR_FORMAT, "%.700s: nested too deep", x->path);
        while (isspace((unsigned char)*p)) p++;
        x->text = p;
        x->len = strcspn(p, "<");
        while (x->len && isspace((unsigned char)p[x->len - 1])) x->len--;
        *event = HPT__XML_OPEN;
        return HPT_OK;
    }
    *event = HPT__XML_END;
    if (!x->depth) return HPT_OK;
    return hpt__fail(HPT_ERR_FORMAT, "%.700s: ends inside <%s>", x->path,
                     x->name[x->depth <= HPT__XML_NAMES ? x->depth - 1 : HPT__XML_NAMES - 1]);
}
