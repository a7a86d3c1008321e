package ui

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Hello begins a stream: the present, and what happened before it.
type Hello struct {
	Frame *Frame `json:"frame"`
	// Timeline of what happened so far, oldest first.
	Timeline []Event `json:"timeline"`
	// Writable says that the page may change things, given the token; LoadTests that it may load the system.
	Writable  bool `json:"writable"`
	LoadTests bool `json:"load_tests"`
	Features
}

// Features are other parts' APIs that the page shows where they are served on the same address.
type Features struct {
	// Logs at /logs/, Traces at /traces/, and Alerts at /monitor/alerts.
	Logs   bool `json:"logs"`
	Traces bool `json:"traces"`
	Alerts bool `json:"alerts"`
}

// first is what a page comes with.
type first struct {
	Hello Hello `json:"hello"`
	Map   Map   `json:"map"`
}

func (s *Server) hello() Hello {
	h := Hello{Frame: s.feed.latest(time.Now()), Timeline: s.timeline(), Writable: s.cfg.Token != "", LoadTests: s.cfg.Loader != nil}
	if s.cfg.Features != nil {
		h.Features = s.cfg.Features()
	}
	return h
}

// quietAfter is how long a stream says nothing before it says that it is still there.
const quietAfter = 15 * time.Second

// writeTimeout is how long a page may take to read one event.
const writeTimeout = 10 * time.Second

// stream sends a page what it shows: 'hello' at first, then a 'frame' each second. A page that comes back with the
// Last-Event-ID of the frame that it saw last gets those that it has missed, where they are still known.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	leave, ok := s.feed.join()
	if !ok {
		fail(w, http.StatusServiceUnavailable, fmt.Errorf("%d pages look already: close one", maxPages))
		return
	}
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	e := events{w: w, control: http.NewResponseController(w)}
	seq, err := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64)
	_, _, whole := s.feed.since(seq)
	if err != nil || !whole {
		hello := s.hello()
		seq = hello.Frame.Seq
		e.send("hello", seq, hello)
	}
	quiet := time.NewTicker(quietAfter)
	defer quiet.Stop()
	for e.err == nil {
		frames, more, _ := s.feed.since(seq)
		for _, f := range frames {
			e.send("frame", f.Seq, f)
			seq = f.Seq
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.done:
			return
		case <-more:
		case <-quiet.C:
			e.comment()
		}
	}
}

// events writes server-sent events (HTML, 9.2.6). After an error it writes nothing more: the page is gone.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	err     error
}

func (e *events) send(name string, id int64, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		e.err = errors.Join(e.err, err)
		return
	}
	e.write(fmt.Appendf(nil, "event: %s\nid: %d\ndata: %s\n\n", name, id, data))
}

func (e *events) comment() { e.write([]byte(": still here\n\n")) }

func (e *events) write(data []byte) {
	if e.err != nil {
		return
	}
	_ = e.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // not every writer can
	if _, e.err = e.w.Write(data); e.err == nil {
		if err := e.control.Flush(); !errors.Is(err, http.ErrNotSupported) {
			e.err = err
		}
	}
}
