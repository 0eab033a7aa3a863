/* SPDX-License-Identifier: MIT
 * Several GPUs, one process each, started by mpirun: MPI only hands rank 0's NCCL id to the others; training talks over
 * NCCL.
 *   mpicc 07_mpi_gpus.c -lhpt -o train && mpirun -n 4 ./train images base.pth adapted.pth */
#include <hpt.h>
#include <mpi.h>
#include <stdio.h>

int main(int argc, char **argv) {
    hpt_config *cfg = NULL; hpt_context *ctx = NULL; hpt_dataset *data = NULL; hpt_model *model = NULL;
    hpt_session *run = NULL;
    hpt_status st;
    char id[300] = "";
    int rank, ranks;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argc != 4) return fprintf(stderr, "usage: %s IMAGES BASE.pth ADAPTED.pth\n", argv[0]), MPI_Finalize(), 2;
    st = hpt_config_create(NULL, &cfg);
    if (!st && rank == 0) st = hpt_comm_id(cfg, id, sizeof id, NULL);
    MPI_Bcast(id, sizeof id, MPI_CHAR, 0, MPI_COMM_WORLD);
    /* one machine: GPU = rank */
    if (st || (st = hpt_config_set(cfg, "backend", "cuda")) || (st = hpt_config_set_int(cfg, "device", rank)) ||
        (st = hpt_config_set(cfg, "comm", "nccl")) || (st = hpt_config_set(cfg, "comm_id", id)) ||
        (st = hpt_config_set_int(cfg, "rank", rank)) || (st = hpt_config_set_int(cfg, "ranks", ranks)) ||
        (st = hpt_config_set_int(cfg, "steps", 5000)) || (st = hpt_config_set_int(cfg, "batch_size", 64 * ranks)) ||
        (st = hpt_context_create(cfg, &ctx)) || (st = hpt_dataset_open(ctx, cfg, argv[1], &data)) ||
        (st = hpt_model_load(ctx, cfg, argv[2], &model, NULL)) ||
        (st = hpt_session_create(ctx, cfg, model, data, &run)) || (st = hpt_session_run(run, NULL, NULL)) ||
        (rank == 0 && (st = hpt_model_save(model, argv[3], NULL)))) {
        fprintf(stderr, "rank %d: %s: %s\n", rank, hpt_status_name(st), hpt_last_error());
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    hpt_session_destroy(run); hpt_model_destroy(model); hpt_dataset_destroy(data);
    hpt_context_destroy(ctx); hpt_config_destroy(cfg);
    return MPI_Finalize();
}
