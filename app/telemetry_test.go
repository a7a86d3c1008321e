package app

import (
	"testing"
	"time"

	"github.com/banyanhq/banyan/gateway"
)

// TestCallsOfARequestAreSpansOfTheirOwn: a service passes the request's id on, so that its calls differ by whom and when they call only.
func TestCallsOfARequestAreSpansOfTheirOwn(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	ids := map[string]bool{}
	calls := []gateway.Ended{
		{RequestID: "r", To: "web", Start: at},
		{RequestID: "r", From: "web", To: "cart", Start: at.Add(time.Millisecond)},
		{RequestID: "r", From: "web", To: "orders", Start: at.Add(time.Millisecond)},
		{RequestID: "r", From: "web", To: "cart", Start: at.Add(2 * time.Millisecond)},
	}
	for i := range calls {
		ids[outerSpan(&calls[i]).Span.SpanID] = true
	}
	if len(ids) != len(calls) {
		t.Errorf("%d calls have %d ids", len(calls), len(ids))
	}
}
