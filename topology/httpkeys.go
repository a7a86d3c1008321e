package topology

import (
	"fmt"
	"net/url"
	"sort"
	"strconv"
	"strings"
)

// UsualZipf is the exponent of ${zipf:A:B} and of feeders with 'order: zipf': that of the popularity of pages and products
// in many published traces (Breslau et al. 1999).
const UsualZipf = 0.99

// KeyPopularity is which answers the requests of a cached route ask for, in the long run.
type KeyPopularity struct {
	// Families of keys. Their shares add up to the share of requests that a cache may answer.
	Families []KeyFamily
	// Assumption says where this comes from, for people.
	Assumption string
}

// KeyFamily is the keys of one path with its variables: every combination of their values is a key of its own.
type KeyFamily struct {
	// Share of the route's requests.
	Share float64
	// Factors are the variables. None: one key.
	Factors []KeyFactor
	// Unbounded keys are never asked for twice.
	Unbounded bool
}

// KeyFactor is a variable with Count values; that of rank k is drawn in proportion to 1/k^Zipf.
type KeyFactor struct {
	Count int
	Zipf  float64
}

// maxKeys bounds how many keys a family may have.
const maxKeys = 20_000_000

// Keys is the number of keys of a family; 0 where they have no bound.
func (f *KeyFamily) Keys() int {
	if f.Unbounded {
		return 0
	}
	n := 1
	for _, k := range f.Factors {
		n *= k.Count
	}
	return n
}

// CachedKeys tells which keys a cached route is asked for: by the variables in the workload's paths, and where there are
// none that say so, by the route's declared objects. ok is false where neither tells.
func (s *System) CachedKeys(r *Route) (p KeyPopularity, ok bool) {
	p, total, bypass, varied, known := s.workloadKeys(r)
	if varied && known {
		return p, true
	}
	readers := 1.0
	if total > 0 {
		readers = 1 - bypass/total
	}
	if o := r.HTTPCache.Objects; o != nil {
		return KeyPopularity{
			Families:   []KeyFamily{{Share: readers, Factors: []KeyFactor{{Count: max(o.Count, 1), Zipf: o.Zipf}}}},
			Assumption: fmt.Sprintf("%d objects as declared, asked for by Zipf's law with exponent %g", o.Count, o.Zipf),
		}, true
	}
	return p, known && total > 0
}

// workloadKeys reads the keys off the workload's paths. bypass is the weight of requests that no cache answers.
func (s *System) workloadKeys(r *Route) (p KeyPopularity, total, bypass float64, varied, known bool) {
	w := s.Workload
	if w == nil {
		return p, 0, 0, false, false
	}
	router := NewRouter(s.Routes)
	weights := map[string]float64{}
	families := map[string]KeyFamily{}
	known = true
	for _, name := range sortedKeys(w.Scenarios) {
		weight := 1.0
		if len(w.Mix) > 0 {
			weight = float64(w.Mix[name])
		}
		for _, st := range w.Scenarios[name].Steps {
			method := st.Method
			if method == "" {
				method = "GET"
			}
			path, query, _ := strings.Cut(st.Path, "?")
			if weight <= 0 || !st.IsRouted() || router.Match(method, stepHost(st), path, st.Parts()) != r {
				continue
			}
			n := weight
			if st.Weight > 0 {
				n *= float64(st.Weight)
			}
			total += n
			if method != "GET" && method != "HEAD" {
				bypass += n
				continue
			}
			key := path + "?" + r.HTTPCache.Key.kept(query)
			f, understood := w.family(key)
			known, varied = known && understood, varied || len(f.Factors) > 0 || f.Unbounded
			weights[key] += n
			families[key] = f
		}
	}
	keys := sortedKeys(families)
	for _, key := range keys {
		f := families[key]
		f.Share = weights[key] / total
		p.Families = append(p.Families, f)
	}
	p.Assumption = "the keys of the workload's paths, with their variables"
	return p, total, bypass, varied, known
}

func stepHost(st *Step) string {
	for name, v := range st.Headers {
		if strings.EqualFold(name, "host") {
			return v
		}
	}
	return ""
}

// kept is what of a query, with its variables, is part of the key.
func (k *HTTPCacheKey) kept(query string) string {
	if k.NoQuery || query == "" {
		return ""
	}
	var parts []string
	for _, part := range strings.Split(query, "&") {
		name, _, _ := strings.Cut(part, "=")
		if decoded, err := url.QueryUnescape(name); err == nil {
			name = decoded
		}
		if len(k.Query) > 0 && !listed(k.Query, name) || listed(k.IgnoreQuery, name) {
			continue
		}
		parts = append(parts, part)
	}
	sort.Strings(parts)
	return strings.Join(parts, "&")
}

func listed(names Strings, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// family reads the variables of a path. understood is false where one has values that are not known here, such as those
// of a file or of an earlier answer.
func (w *Workload) family(path string) (f KeyFamily, understood bool) {
	seen := map[string]bool{}
	for {
		_, rest, found := strings.Cut(path, "${")
		if !found {
			break
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			break
		}
		path = after
		kind, args, _ := strings.Cut(name, ":")
		feeder := w.Feeders[kind]
		if feeder == nil {
			base, _, _ := strings.Cut(name, ".")
			if feeder = w.Feeders[base]; feeder != nil {
				name = base
			}
		}
		switch {
		case feeder != nil && seen[name]: // one row for the whole run: the same value again
			continue
		case feeder != nil:
			seen[name] = true
			if feeder.From == nil {
				return f, false
			}
			if feeder.Order == "once" || feeder.To == nil {
				f.Unbounded = true
				continue
			}
			k := KeyFactor{Count: *feeder.To - *feeder.From + 1}
			if feeder.Order == "zipf" {
				k.Zipf = UsualZipf
			}
			f.Factors = append(f.Factors, k)
		case kind == "uuid" || kind == "iteration":
			f.Unbounded = true
		case kind == "user" && w.Users > 0:
			f.Factors = append(f.Factors, KeyFactor{Count: w.Users})
		case kind == "pick":
			f.Factors = append(f.Factors, KeyFactor{Count: strings.Count(args, ",") + 1})
		case kind == "random" || kind == "zipf":
			lo, hi, _ := strings.Cut(args, ":")
			from, err1 := strconv.Atoi(strings.TrimSpace(lo))
			to, err2 := strconv.Atoi(strings.TrimSpace(hi))
			if err1 != nil || err2 != nil || to < from {
				return f, false
			}
			k := KeyFactor{Count: to - from + 1}
			if kind == "zipf" {
				k.Zipf = UsualZipf
			}
			f.Factors = append(f.Factors, k)
		default:
			return f, false
		}
	}
	n := 1.0
	for _, k := range f.Factors {
		if k.Count < 1 {
			return f, false
		}
		n *= float64(k.Count)
	}
	return f, n <= maxKeys
}

// HTTPMemory is the budget in bytes of what all routes with an http_cache keep together.
func (s *System) HTTPMemory() Bytes { return s.httpMemory() }

// KeptObject is the size of an object's body and how long it is fresh (0: for good), for planning; the defaults are
// those of the fields of HTTPObjects.
func (h *HTTPCache) KeptObject() (size Bytes, ttl Duration) {
	size, ttl = 8<<10, h.TTL
	if h.Objects != nil {
		if h.Objects.Size > 0 {
			size = h.Objects.Size
		}
		if h.Objects.TTL > 0 {
			ttl = h.Objects.TTL
		}
	}
	return size, ttl
}
