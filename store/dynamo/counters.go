package dynamo

import (
	"context"
	"sync/atomic"
)

// operationCounter counts the answers of one operation.
type operationCounter struct {
	name                       string
	ok, clientErrors, failures atomic.Int64
}

func (c *operationCounter) done(e *Error) {
	switch {
	case e == nil:
		c.ok.Add(1)
	case e.status() >= 500:
		c.failures.Add(1)
	default:
		c.clientErrors.Add(1)
	}
}

// OperationCount says how often an operation was carried out, refused and failed.
type OperationCount struct {
	Operation                  string
	OK, ClientErrors, Failures int64
}

// Counts of all operations since the start, in no order.
func (a *API) Counts() (all []OperationCount) {
	for _, c := range a.counters {
		all = append(all, OperationCount{c.name, c.ok.Load(), c.clientErrors.Load(), c.failures.Load()})
	}
	return all
}

type hostKey struct{}

// hostOf is the address that a request was sent to.
func hostOf(ctx context.Context) string {
	host, _ := ctx.Value(hostKey{}).(string)
	return host
}

// answerHTTP checks the signature and answers.
func (a *API) answerHTTP(ctx context.Context, h *head, out []byte) (status int, answer []byte) {
	if err := a.authenticate(h); err != nil {
		e, _ := a.asError(err)
		return e.status(), e.append(out)
	}
	return a.Answer(ctx, h.get("X-Amz-Target"), h.body, out)
}
