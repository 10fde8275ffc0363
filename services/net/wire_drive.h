// How do edits and reports look on the wire? Field for field as in contract/drive.h. to_wire fills
// an empty message; from_wire trusts nothing: INVALID_ARGUMENT names the first field a correct peer
// would never send. Private to net/.
#pragma once

#include "base/result.h"
#include "contract/drive.h"
#include "worker.pb.h"

namespace fathom::wire {

void to_wire(const Edits& from, v1::EditBatch& to);
Result<Edits> from_wire(const v1::EditBatch& from);

void to_wire(const Report& from, v1::Report& to);
Result<Report> from_wire(const v1::Report& from);

struct FetchRequest {
  Ticket ticket;
  int32_t tokens = 0;
  bool operator==(const FetchRequest&) const = default;
};
void to_wire(const FetchRequest& from, v1::FetchRequest& to);
Result<FetchRequest> from_wire(const v1::FetchRequest& from);

}  // namespace fathom::wire
