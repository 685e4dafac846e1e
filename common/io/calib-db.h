/* calib-db.h - the database form of a caption list; calib.h is what others include */
#ifndef COMMON_IO_CALIB_DB_H
#define COMMON_IO_CALIB_DB_H

#include "common/io/calib.h"

/* calib_read() for a file known to be a database; c is zeroed. */
int calib_db_read(struct calib *c, const char *path, struct err *e);

#endif
