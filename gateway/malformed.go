package gateway

import (
	"slices"
	"sync/atomic"

	h1 "github.com/banyanhq/banyan/gateway/http1"
)

// malformedStatuses are those that the rules of package http1 refuse a request with; the first stands for all others.
var malformedStatuses = [...]int{400, 431, 501, 505}

// malformed counts what came over HTTP/1 and was no request, by the status that it was refused with. It belongs to no route,
// and the access log has nothing to say of it.
type malformed [len(malformedStatuses)]atomic.Int64

func (m *malformed) count(why *h1.Error) {
	m[max(slices.Index(malformedStatuses[:], why.Status), 0)].Add(1)
}
