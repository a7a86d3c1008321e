package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

const (
	defaultLimit = 20
	maxLimit     = 100
)

// catalog answers from memory; nothing in it changes after newCatalog.
type catalog struct {
	products []Product
	encoded  [][]byte // the JSON of each product
	counts   []byte   // the JSON of how many there are in each category
	index    *index
}

func newCatalog(products []Product) (*catalog, error) {
	c := &catalog{products: products, index: newIndex(products)}
	type count struct {
		Name     string `json:"name"`
		Products int    `json:"products"`
	}
	var counts []count
	for i, p := range products {
		data, err := json.Marshal(p)
		if err != nil {
			return nil, fmt.Errorf("encoding product %d: %w", p.ID, err)
		}
		c.encoded = append(c.encoded, data)
		if p.ID != i+1 {
			return nil, fmt.Errorf("product %d stands at place %d", p.ID, i+1)
		}
		at := slices.IndexFunc(counts, func(k count) bool { return k.Name == p.Category })
		if at < 0 {
			at = len(counts)
			counts = append(counts, count{Name: p.Category})
		}
		counts[at].Products++
	}
	var err error
	c.counts, err = json.Marshal(counts)
	return c, err
}

func (c *catalog) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /products", answer(c.list))
	mux.HandleFunc("GET /products/{id}", answer(c.one))
	mux.HandleFunc("GET /search", answer(c.search))
	return mux
}

func answer(f func(*http.Request, url.Values) ([]byte, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := f(r, r.URL.Query())
		if err != nil {
			httpserve.WriteError(w, err)
			return
		}
		httpserve.WriteRaw(w, http.StatusOK, body)
	}
}

func (c *catalog) one(r *http.Request, _ url.Values) ([]byte, error) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil || id < 1 || id > len(c.products) {
		return nil, httpserve.Errorf(http.StatusNotFound, "no_such_product", "there is no product %.20q", r.PathValue("id"))
	}
	return c.encoded[id-1], nil
}

func (c *catalog) list(_ *http.Request, q url.Values) ([]byte, error) {
	switch {
	case q.Has("ids"):
		docs, err := c.parseIDs(q.Get("ids"))
		return c.page(docs, len(docs)), err
	case q.Has("featured"):
		n, err := number(q, "featured", defaultLimit, 1, maxLimit)
		return c.page(c.featured(n), len(c.products)), err
	}
	limit, err := number(q, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	offset, err := number(q, "offset", 0, 0, len(c.products))
	if err != nil {
		return nil, err
	}
	keep := c.inCategory(q.Get("category"))
	var docs []int
	total := 0
	for doc := range c.products {
		if !keep(doc) {
			continue
		}
		if total >= offset && len(docs) < limit {
			docs = append(docs, doc)
		}
		total++
	}
	return c.page(docs, total), nil
}

func (c *catalog) search(_ *http.Request, q url.Values) ([]byte, error) {
	query := q.Get("q")
	if len(query) > maxQuery {
		return nil, httpserve.Errorf(http.StatusBadRequest, "query_too_long", "q has %d bytes, the most is %d", len(query), maxQuery)
	}
	limit, err := number(q, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	docs, total := c.index.search(query, limit, c.inCategory(q.Get("category")))
	return c.page(docs, total), nil
}

func (c *catalog) inCategory(name string) func(doc int) bool {
	if name == "" {
		return func(int) bool { return true }
	}
	return func(doc int) bool { return strings.EqualFold(c.products[doc].Category, name) }
}

// featured spreads the choice over the categories and shows a limited edition.
func (c *catalog) featured(n int) []int {
	docs := make([]int, 0, n)
	if last := len(c.products) - 1; c.products[last].Limited {
		docs = append(docs, last)
	}
	const stride = 89 // prime to the number of categories, so that they take turns
	for doc := 7; len(docs) < min(n, len(c.products)); doc = (doc + stride) % len(c.products) {
		if !slices.Contains(docs, doc) {
			docs = append(docs, doc)
		} else {
			doc++
		}
	}
	return docs
}

func (c *catalog) parseIDs(list string) ([]int, error) {
	parts := strings.Split(list, ",")
	if len(parts) > maxLimit {
		return nil, httpserve.Errorf(http.StatusBadRequest, "too_many", "%d ids, the most is %d", len(parts), maxLimit)
	}
	docs := make([]int, 0, len(parts))
	for _, part := range parts {
		id, err := strconv.Atoi(part)
		if err != nil {
			return nil, httpserve.Errorf(http.StatusBadRequest, "bad_parameter", "ids: %.20q is not a number", part)
		}
		// A product that does not exist is left out of the answer.
		if id >= 1 && id <= len(c.products) {
			docs = append(docs, id-1)
		}
	}
	return docs, nil
}

// page puts the encoded products together.
func (c *catalog) page(docs []int, total int) []byte {
	buf := make([]byte, 0, 512*(len(docs)+2))
	buf = append(buf, `{"total":`...)
	buf = strconv.AppendInt(buf, int64(total), 10)
	buf = append(buf, `,"products":[`...)
	for i, doc := range docs {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = append(buf, c.encoded[doc]...)
	}
	buf = append(buf, `],"categories":`...)
	buf = append(buf, c.counts...)
	return append(buf, '}')
}

func number(q url.Values, name string, fallback, low, high int) (int, error) {
	v := q.Get(name)
	if v == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		return 0, httpserve.Errorf(http.StatusBadRequest, "bad_parameter", "%s=%.20q: want a number from %d to %d", name, v, low, high)
	}
	return n, nil
}
