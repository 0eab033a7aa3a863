/* SPDX-License-Identifier: MIT
 * What EfficientNets have in common, for the network (efficientnet.c) and for knowing one in a file
 * (efficientnet_names.c), members that libhpt does not build among them: compound scaling of B0's stages. */
#ifndef HPT__EFFICIENTNET_H
#define HPT__EFFICIENTNET_H

enum { HPT__EFFICIENTNETS = 4, HPT__EFFICIENTNET_STAGES = 7 };     /* B0 to B3 */

/* Channels go to a multiple of eight, repeats up. */
int hpt__efficientnet_widened(double by, int channels);
int hpt__efficientnet_deepened(double by, int blocks);
/* Of B0: channels behind a stage, and its blocks; stage -1: behind the stem, HPT__EFFICIENTNET_STAGES: of the last
 * convolution. */
int hpt__efficientnet_channels(int stage);
int hpt__efficientnet_blocks(int stage);
/* By what a member's width and depth multiply B0's, and the side of the images that it was made for. */
typedef struct hpt__efficientnet_member {
    const char *name;
    double width, depth;
    int built_for;
} hpt__efficientnet_member;
extern const hpt__efficientnet_member hpt__efficientnet_members[HPT__EFFICIENTNETS];
const char *hpt__efficientnet_prefix(int flavour);  /* what stands before a member's name: "", "tf_", "lukemelas_" */
#endif
