package ui

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// others serves what logs, traces and the monitor would, beside a page.
func others(page http.Handler) http.Handler {
	mux := http.NewServeMux()
	write := func(path string, v func() any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v())
		})
	}
	type object map[string]any
	now := time.Now()
	write("/logs/search", func() any {
		var all []object
		for i := range 30 {
			level := []string{"info", "info", "warn", "error"}[i%4]
			all = append(all, object{"time": now.Add(-time.Duration(i) * 7 * time.Second), "level": level, "trace_id": fmt.Sprintf("%032x", i), "position": fmt.Sprint(i),
				"labels": object{"service": "catalog", "replica": "catalog-0", "stream": "stdout"}, "fields": object{"took": "12ms", "path": "/products/7"},
				"line": `level=` + level + ` msg="reading the product" took=12ms path=/products/7`})
		}
		return object{"entries": all, "blocks": 3, "skipped": 1}
	})
	write("/logs/histogram", func() any {
		var bars []object
		for i := range 60 {
			bars = append(bars, object{"start": now.Add(-time.Duration(i) * 40 * time.Second).Truncate(40 * time.Second), "count": 10 + i%7, "groups": object{"info": 8, "warn": i % 3, "error": i % 2, "(none)": 1}})
		}
		return bars
	})
	write("/traces/search", func() any {
		var all []object
		for i := range 20 {
			all = append(all, object{"trace_id": fmt.Sprintf("%032x", i), "start": now.Add(-time.Duration(i) * time.Minute), "duration": 1000000 * (5 + 13*i%90), "service": "gateway", "name": "POST /checkout",
				"spans": 9, "services": []string{"gateway", "web", "orders"}, "errors": i % 5 / 4, "kept": []string{"slow", "error", "random"}[i%3]})
		}
		return all
	})
	span := func(id, parent, service, name string, at, took int64, failed bool) object {
		return object{"trace_id": "t", "span_id": id, "parent": parent, "service": service, "name": name, "kind": "server", "start": now.UnixNano() + at*1e6, "duration": took * 1e6, "error": failed}
	}
	write("/traces/trace/{id}", func() any {
		return object{
			"spans": []object{span("a", "", "gateway", "POST /checkout", 0, 84, false), span("b", "a", "web", "POST /checkout", 2, 81, false), span("c", "b", "cart", "GET /cart", 4, 11, false),
				span("d", "b", "orders", "POST /orders", 17, 62, true), span("e", "d", "payments", "POST /charge", 30, 41, true)},
			"critical_path": []object{{"span_id": "a", "at": 0, "duration": 2000000}, {"span_id": "b", "at": 2000000, "duration": 2000000}, {"span_id": "c", "at": 4000000, "duration": 11000000},
				{"span_id": "d", "at": 17000000, "duration": 13000000}, {"span_id": "e", "at": 30000000, "duration": 41000000}, {"span_id": "b", "at": 79000000, "duration": 4000000}},
		}
	})
	write("/monitor/alerts", func() any {
		return []object{{"name": "SLOBurnsFast", "state": "firing", "severity": "page", "activeAt": now.Add(-4 * time.Minute), "labels": object{"slo": "checkout"}, "silencedBy": []string{},
			"annotations": object{"summary": "checkout uses its error budget up 15 times too fast"}, "suspects": []object{{"at": now.Add(-5 * time.Minute), "kind": "deploy", "service": "payments", "what": "payments was replaced", "score": 0.9}}}}
	})
	mux.Handle("/", page)
	return mux
}
