package httpcache

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"
)

// origin of the model test: each path has a version, which says how its answers are to be kept.
type versioned struct {
	version int
	maxAge  int  // -1: no-store
	tagged  bool // it has an ETag
	vary    bool // by Accept-Language
	must    bool // must-revalidate
}

func (v *versioned) body(path, language string) string {
	if !v.vary {
		language = ""
	}
	return fmt.Sprintf("%s %d %s", path, v.version, language)
}

func (v *versioned) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	switch {
	case v.maxAge < 0:
		h.Set("Cache-Control", "no-store")
	case v.must:
		h.Set("Cache-Control", fmt.Sprintf("max-age=%d, must-revalidate", v.maxAge))
	default:
		h.Set("Cache-Control", fmt.Sprintf("max-age=%d", v.maxAge))
	}
	if v.vary {
		h.Set("Vary", "Accept-Language")
	}
	body := v.body(r.URL.Path, r.Header.Get("Accept-Language"))
	if v.tagged {
		tag := `"` + strings.ReplaceAll(body, " ", "-") + `"`
		h.Set("Etag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(http.StatusOK)
	io.WriteString(w, body)
}

// reference is a cache as RFC 9111 describes one, as plainly as it can be written: a list that is searched.
type reference struct{ kept []referenceEntry }

type referenceEntry struct {
	path, language string
	vary           bool
	body           string
	at             time.Time
	maxAge         int
	must           bool
}

func (c *reference) find(path, language string) *referenceEntry {
	var best *referenceEntry
	for i := range c.kept {
		if e := &c.kept[i]; e.path == path && (!e.vary || e.language == language) && (best == nil || !e.at.Before(best.at)) {
			best = e
		}
	}
	return best
}

func (c *reference) drop(which func(e referenceEntry) bool) {
	var left []referenceEntry
	for _, e := range c.kept {
		if !which(e) {
			left = append(left, e)
		}
	}
	c.kept = left
}

// get returns what a request is answered with; asks says whether the origin is asked.
func (c *reference) get(now time.Time, v *versioned, path, language, directive string, n int) (body string, status int, asks bool) {
	if e := c.find(path, language); e != nil {
		age := int(now.Sub(e.at) / time.Second)
		fresh := age < e.maxAge
		switch directive {
		case "no-cache":
			fresh = false
		case "max-age":
			fresh = fresh && age <= n && n > 0
		case "min-fresh":
			fresh = fresh && e.maxAge-age >= n
		case "max-stale":
			fresh = fresh || !e.must && age-e.maxAge <= n
		}
		if fresh {
			return e.body, 200, false
		}
	}
	if directive == "only-if-cached" {
		return "", 504, false
	}
	body = v.body(path, language)
	if v.maxAge < 0 || v.maxAge == 0 && !v.tagged { // nor is what could serve nobody: what is stored is superseded by what may not be
		if e := c.find(path, language); e != nil {
			gone := *e
			c.drop(func(e referenceEntry) bool { return e == gone })
		}
		return body, 200, true
	}
	c.drop(func(e referenceEntry) bool {
		return e.path == path && e.vary == v.vary && (!v.vary || e.language == language)
	})
	c.kept = append(c.kept, referenceEntry{path, language, v.vary, body, now, v.maxAge, v.must})
	return body, 200, true
}

// Random requests, changes of the origin and steps of the clock are answered as by the reference, and the origin is asked
// just when the reference would have asked it.
func TestRandomRequestsAgainstAReference(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		g := newRig(t, Rules{})
		paths := []string{"/a", "/b", "/c"}
		origin := map[string]*versioned{}
		for _, p := range paths { // what a path varies by, and that it has tags, stays: stored answers of both kinds may not disagree
			origin[p] = &versioned{maxAge: rng.IntN(20), vary: rng.IntN(2) == 0, tagged: rng.IntN(2) == 0, must: rng.IntN(2) == 0}
		}
		g.origin = func(w http.ResponseWriter, r *http.Request) { origin[r.URL.Path].serve(w, r) }
		ref := &reference{}
		var story []string
		for range 300 {
			path := paths[rng.IntN(len(paths))]
			v := origin[path]
			switch what := rng.IntN(20); {
			case what < 3:
				d := time.Duration(rng.IntN(8)) * time.Second
				g.advance(d)
				story = append(story, "advance "+d.String())
			case what < 5:
				v.version++
				v.maxAge = rng.IntN(20) - 1
				story = append(story, fmt.Sprintf("%s is version %d, max-age %d", path, v.version, v.maxAge))
			case what == 5:
				story = append(story, "POST "+path)
				g.do("POST http://x" + path)
				g.settle()
				ref.drop(func(e referenceEntry) bool { return e.path == path })
			case what == 6:
				story = append(story, "purge "+path)
				if _, err := g.cache.Purge(Purge{Path: path}); err != nil {
					t.Fatal(err)
				}
				ref.drop(func(e referenceEntry) bool { return e.path == path })
			default:
				language := []string{"en", "de"}[rng.IntN(2)]
				directive, n := []string{"", "", "", "no-cache", "max-age", "min-fresh", "max-stale", "only-if-cached"}[rng.IntN(8)], rng.IntN(10)
				fields := []string{"Accept-Language: " + language}
				switch directive {
				case "":
				case "no-cache", "only-if-cached":
					fields = append(fields, "Cache-Control: "+directive)
				default:
					fields = append(fields, fmt.Sprintf("Cache-Control: %s=%d", directive, n))
				}
				story = append(story, fmt.Sprintf("GET %s %q", path, fields))
				before := g.count()
				body, status, asks := ref.get(g.now(), v, path, language, directive, n)
				res := g.do("GET http://x"+path, fields...)
				got, _ := io.ReadAll(res.Body)
				g.settle()
				if status != res.StatusCode || status == 200 && string(got) != body || asks != (g.count() > before) {
					t.Fatalf("seed %d: %d %q, asked %v; want %d %q, %v; after\n%s", seed, res.StatusCode, got, g.count() > before, status, body, asks,
						strings.Join(story[max(0, len(story)-25):], "\n"))
				}
			}
		}
	}
}
