package gateway

import (
	"net/http"

	"github.com/banyanhq/banyan/topology"
)

// requestParts gives the router what some routes look at in a request, whose call has not begun.
type requestParts struct{ r *http.Request }

func (p requestParts) Header(name string) (string, bool) { return (&call{r: p.r}).Header(name) }

func (p requestParts) Cookie(name string) (string, bool) {
	return cookieValue(p.r.Header["Cookie"], name)
}

func (p requestParts) Query(name string) (string, bool) {
	return topology.QueryValue(p.r.URL.RawQuery, name)
}
