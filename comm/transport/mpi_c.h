// <mpi.h> without the C++ bindings that MPI-3 removed: they need a library of their own at link time.
#pragma once

#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>
