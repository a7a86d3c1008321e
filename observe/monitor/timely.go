package monitor

import (
	"io"
	"net/http"
	"time"
)

// bodyTime is how long a client may take to send a request's body. Few of those who send records are read at once, and one that stopped must
// not keep the others out.
const bodyTime = time.Minute

// Timely bounds how long the bodies of requests to h may take: a minute each; then reading one returns os.ErrDeadlineExceeded. What the answer
// takes is another matter: streams go on for as long as they like.
func Timely(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			control := http.NewResponseController(w)
			if err := control.SetReadDeadline(time.Now().Add(bodyTime)); err == nil {
				// The server goes on by the request that it knows: it must find its own body there.
				r = r.WithContext(r.Context())
				r.Body = &timelyBody{r.Body, control}
			}
		}
		h.ServeHTTP(w, r)
	})
}

// timelyBody lifts the bound once all has been read.
type timelyBody struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b *timelyBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.control.SetReadDeadline(time.Time{}) // it could be set
	}
	return n, err
}
