package elastic

import (
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/banyanhq/banyan/observe/segment"
)

// probe answers what clients ask before they send anything: who is there, its licence and health, and whether templates and policies
// exist. Those are taken and remembered by name: nothing here needs them.
func (s *Server) probe(r *http.Request, index, name string, rest []string) (answer any, status int, ok bool) {
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	if index != "" && name == "" {
		return s.indexItself(r, index)
	}
	switch name {
	case "":
		return map[string]any{
			"name": "banyan", "cluster_name": "banyan", "cluster_uuid": "banyan-logs-000000000001",
			"version": map[string]any{
				"number": Version, "build_flavor": "default", "build_type": "tar", "build_hash": "0000000", "build_date": "2025-01-01T00:00:00.000Z",
				"build_snapshot": false, "lucene_version": "9.12.0", "minimum_wire_compatibility_version": "7.17.0", "minimum_index_compatibility_version": "7.0.0",
			},
			"tagline": "You Know, for Search",
		}, http.StatusOK, get
	case "_license":
		return map[string]any{"license": map[string]any{
			"status": "active", "uid": "banyan-logs", "type": "basic", "issue_date_in_millis": 0, "max_nodes": 1000, "issued_to": "banyan", "issuer": "banyan", "start_date_in_millis": -1,
		}}, http.StatusOK, get
	case "_xpack":
		return map[string]any{
			"build": map[string]any{}, "license": map[string]any{"uid": "banyan-logs", "type": "basic", "mode": "basic", "status": "active"},
			"features": map[string]any{"ilm": map[string]bool{"available": true, "enabled": true}, "security": map[string]bool{"available": false, "enabled": false}}, "tagline": "You know, for X",
		}, http.StatusOK, get
	case "_cluster":
		if len(rest) > 1 && rest[1] == "health" && get {
			return map[string]any{
				"cluster_name": "banyan", "status": "green", "timed_out": false, "number_of_nodes": 1, "number_of_data_nodes": 1, "active_primary_shards": 1,
				"active_shards": 1, "relocating_shards": 0, "initializing_shards": 0, "unassigned_shards": 0, "active_shards_percent_as_number": 100.0,
			}, http.StatusOK, true
		}
		if len(rest) > 1 && rest[1] == "settings" && get {
			return map[string]any{"persistent": map[string]any{}, "transient": map[string]any{}}, http.StatusOK, true
		}
	case "_nodes":
		if get {
			return nodes(r, rest[1:])
		}
	case "_cat":
		if len(rest) > 1 && rest[1] == "indices" && get {
			return s.indices(), http.StatusOK, true
		}
	case "_ilm", "_index_template", "_component_template", "_template", "_data_stream", "_ingest", "_alias", "_aliases", "_settings":
		return s.remnant(r, index, rest)
	}
	return nil, 0, false
}

// node is the name and id of the one node that there is.
const node = "banyan"

// nodes answers clients that ask which nodes there are and where, to talk to all of them: /_nodes[/FILTER][/http]. Nothing else is told of a
// node. The address is the one at which the client's connection ended, so that whoever asks reaches it; it has no path in it, so a client
// that does not keep the path of the address that it was given does not find the API again.
func nodes(r *http.Request, path []string) (any, int, bool) {
	if n := len(path); n > 0 && path[n-1] == "http" {
		path = path[:n-1]
	}
	if len(path) > 1 || len(path) == 1 && !slices.Contains([]string{"_all", "_local", "_master", "*", node}, path[0]) {
		return nil, 0, false
	}
	address := r.Host
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		address = local.String()
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	return map[string]any{
		"_nodes": map[string]int{"total": 1, "successful": 1, "failed": 0}, "cluster_name": "banyan",
		"nodes": map[string]any{node: map[string]any{
			"name": node, "host": host, "ip": host, "version": Version, "build_flavor": "default", "build_type": "tar", "build_hash": "0000000",
			"roles": []string{"data", "ingest", "master"}, "attributes": map[string]string{},
			"http": map[string]any{"bound_address": []string{address}, "publish_address": address, "max_content_length_in_bytes": maxBody},
		}},
	}, http.StatusOK, true
}

// remnant answers for templates, policies, pipelines and aliases.
func (s *Server) remnant(r *http.Request, index string, rest []string) (any, int, bool) {
	key := index + "/" + strings.Join(rest, "/")
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.Method {
	case http.MethodPut, http.MethodPost:
		if len(s.known) < maxRemnant && len(key) < 512 {
			s.known[key] = true
		}
		return acknowledged, http.StatusOK, true
	case http.MethodDelete:
		delete(s.known, key)
		return acknowledged, http.StatusOK, true
	}
	if !s.known[key] {
		return map[string]any{"error": map[string]any{"type": "resource_not_found_exception", "reason": key + " is not there"}, "status": 404}, http.StatusNotFound, true
	}
	last := rest[len(rest)-1]
	switch rest[0] {
	case "_index_template":
		return map[string]any{"index_templates": []any{map[string]any{"name": last, "index_template": map[string]any{}}}}, http.StatusOK, true
	case "_data_stream":
		return map[string]any{"data_streams": []any{map[string]any{"name": last, "timestamp_field": map[string]string{"name": "@timestamp"}, "indices": []any{}, "generation": 1, "status": "GREEN"}}}, http.StatusOK, true
	}
	return map[string]any{last: map[string]any{}}, http.StatusOK, true
}

// indexItself answers for /INDEX.
func (s *Server) indexItself(r *http.Request, index string) (any, int, bool) {
	switch r.Method {
	case http.MethodPut:
		if !indexName.MatchString(index) {
			return nil, 0, false
		}
		return map[string]any{"acknowledged": true, "shards_acknowledged": true, "index": index}, http.StatusOK, true
	case http.MethodGet, http.MethodHead:
		if len(s.logs.Store().Streams(-1<<62, 0, indexFilter(index))) == 0 {
			return map[string]any{"error": map[string]any{"type": "index_not_found_exception", "reason": "no such index [" + index + "]"}, "status": 404}, http.StatusNotFound, true
		}
		return map[string]any{index: map[string]any{"aliases": map[string]any{}, "mappings": map[string]any{}, "settings": map[string]any{}}}, http.StatusOK, true
	}
	return nil, 0, false
}

// indices lists the indices that have documents.
func (s *Server) indices() []map[string]string {
	seen := map[string]bool{}
	all := []map[string]string{}
	for _, stream := range s.logs.Store().Streams(-1<<62, 0, segment.Label(labelIndex, func(v string) bool { return v != "" })) {
		if name, _ := stream.Get(labelIndex); !seen[name] {
			seen[name] = true
			all = append(all, map[string]string{"health": "green", "status": "open", "index": name, "uuid": name, "pri": "1", "rep": "0"})
		}
	}
	return all
}

// indexFilter wants the documents of the indices that a path names: names and patterns with *, with commas between.
func indexFilter(index string) segment.Filter {
	if index == "" || index == "_all" || index == "*" {
		return segment.All()
	}
	patterns := strings.Split(index, ",")
	return segment.Label(labelIndex, func(v string) bool {
		if v == "" {
			return false
		}
		in := false
		for _, p := range patterns {
			p, out := strings.CutPrefix(p, "-")
			if wildcardMatch(p, v) {
				in = !out
			}
		}
		return in
	})
}

// wildcardMatch reports whether s is what the pattern says, in which * stands for anything and ? for one byte.
func wildcardMatch(pattern, s string) bool {
	star, back := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, back = i, j
			i++
		case i < len(pattern) && (pattern[i] == '?' || pattern[i] == s[j]):
			i++
			j++
		case star >= 0:
			back++
			i, j = star+1, back
		default:
			return false
		}
	}
	return strings.Trim(pattern[i:], "*") == ""
}
