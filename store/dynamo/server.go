package dynamo

import (
	"context"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
)

// maxBody of a request, as DynamoDB has it.
const maxBody = 16 << 20

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

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// buffer holds the body of a request and its answer. maxKept bounds what is kept for the next request.
type buffer struct{ body, answer []byte }

const maxKept = 1 << 20

func (b *buffer) free() {
	if cap(b.body) <= maxKept && cap(b.answer) <= maxKept {
		buffers.Put(b)
	}
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		io.WriteString(w, "healthy: dynamodb."+a.cfg.Region+".amazonaws.com ")
		return
	}
	b := buffers.Get().(*buffer)
	defer b.free()
	var err error
	if b.body, err = readBody(b.body[:0], http.MaxBytesReader(w, r.Body, maxBody), r.ContentLength); err != nil {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	status := 0
	status, b.answer = a.answerHTTP(context.WithValue(r.Context(), hostKey{}, r.Host), signed{
		method: r.Method, path: r.URL.EscapedPath(), query: r.URL.RawQuery, body: b.body,
		header: func(name string) string {
			if name == "Host" {
				return r.Host
			}
			if name == "Content-Length" {
				return strconv.FormatInt(r.ContentLength, 10)
			}
			return r.Header.Get(name)
		},
	}, b.answer[:0])
	h := w.Header()
	h["Content-Type"] = contentType
	h["X-Amz-Crc32"] = []string{strconv.FormatUint(uint64(crc32.ChecksumIEEE(b.answer)), 10)}
	h["X-Amzn-Requestid"] = []string{requestID()}
	h["Content-Length"] = []string{strconv.Itoa(len(b.answer))}
	w.WriteHeader(status)
	w.Write(b.answer)
}

var contentType = []string{"application/x-amz-json-1.0"}

// answerHTTP checks the signature and answers.
func (a *API) answerHTTP(ctx context.Context, q signed, out []byte) (status int, answer []byte) {
	if err := a.authenticate(q); err != nil {
		e, _ := a.asError(err)
		return e.status(), e.append(out)
	}
	return a.Answer(ctx, q.header("X-Amz-Target"), q.body, out)
}

func readBody(b []byte, r io.Reader, length int64) ([]byte, error) {
	if n := int(min(length, maxBody)); n > cap(b) {
		b = make([]byte, 0, n+1)
	}
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

var requests atomic.Uint64

// requestID is 52 letters and digits, like DynamoDB's, of which only the last tell requests apart.
func requestID() string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUV"
	id := [52]byte{}
	for i := range id {
		id[i] = '0'
	}
	n := requests.Add(1)
	for i := 51; n > 0; i-- {
		id[i] = digits[n&31]
		n >>= 5
	}
	return string(id[:])
}
