package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/bus/inbox"
	"github.com/banyanhq/banyan/policy/workqueue"
)

// pusher posts the messages of one queue or topic to one service.
type pusher struct {
	bus   *Bus
	kind  string // queue or topic
	name  string
	to    Push
	wait  time.Duration // that one delivery may take
	serve func(ctx context.Context)
	http  *http.Client
	inbox *inbox.Inbox // nil: nobody has one

	handling handling
}

// topicBackoff spaces out the deliveries of an event that a service does not take. They go on as long as the topic retains
// the event.
var topicBackoff = workqueue.Backoff{First: time.Second, Max: 5 * time.Minute, Factor: 2, Jitter: 0.5}

// maxPushed bounds the deliveries that are under way at once to one service.
const maxPushed = 1000

func (b *Bus) pushers() (all []*pusher) {
	add := func(kind, name string, to Push, wait time.Duration, serve func(*pusher) func(context.Context)) {
		p := &pusher{bus: b, kind: kind, name: name, to: to, wait: wait, http: serviceClient(64)}
		p.serve = serve(p)
		all = append(all, p)
	}
	for name, q := range b.cfg.Queues {
		for _, to := range q.Push {
			wait := q.Rules.AckWait
			if wait <= 0 {
				wait = 30 * time.Second
			}
			add("queue", name, to, wait, func(p *pusher) func(context.Context) { return p.serveQueue })
		}
	}
	for name, t := range b.cfg.Topics {
		for _, to := range t.Push {
			add("topic", name, to, groupAckWait, func(p *pusher) func(context.Context) { return p.serveTopic })
		}
	}
	return all
}

// serviceClient posts to services: it keeps so many idle connections to each, and follows no redirects.
func serviceClient(idle int) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: idle, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// run serves until ctx ends and what is under way has ended.
func (p *pusher) run(ctx context.Context) {
	p.serve(ctx)
	p.http.CloseIdleConnections()
}

// places gives out places for deliveries, as many as the service takes at once now.
type places struct {
	mu    sync.Mutex
	taken int
	freed chan struct{}
	group sync.WaitGroup
}

// take waits for places and returns how many it got; 0 when ctx is done.
func (s *places) take(ctx context.Context, limit func() int) int {
	for ctx.Err() == nil {
		s.mu.Lock()
		n := min(limit(), maxPushed) - s.taken
		if n > 0 {
			s.taken += n
			s.mu.Unlock()
			return n
		}
		s.mu.Unlock()
		select {
		case <-s.freed:
		case <-time.After(time.Second): // the limit may have grown
		case <-ctx.Done():
		}
	}
	return 0
}

func (s *places) give(n int) {
	s.mu.Lock()
	s.taken -= n
	s.mu.Unlock()
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// limit is how many deliveries may be under way now; none while there is nobody to take them.
func (p *pusher) limit() int {
	if p.to.URL() == "" {
		return 0
	}
	if p.to.Concurrency == nil {
		return 1
	}
	return p.to.Concurrency()
}

func (p *pusher) serveQueue(ctx context.Context) {
	s := places{freed: make(chan struct{}, 1)}
	defer s.group.Wait()
	for {
		n := s.take(ctx, p.limit)
		if n == 0 {
			return
		}
		got, err := p.bus.Broker().Receive(ctx, p.name, p.to.Name, n)
		if err != nil {
			return // the broker is closed
		}
		s.give(n - len(got))
		for _, d := range got {
			s.group.Add(1)
			go func() {
				defer s.group.Done()
				defer s.give(1)
				p.pushMessage(ctx, d)
			}()
		}
	}
}

func (p *pusher) pushMessage(ctx context.Context, d broker.Delivery) {
	headers := d.Headers
	if d.Meta.Origin != "" {
		headers = append(slices.Clone(headers), deadHeaders(d.Meta)...)
	}
	id := fmt.Sprintf("%s-%d", d.Queue, d.Seq)
	out := p.once(ctx, orElse(d.Meta.ID, id), func() outcome { return p.post(ctx, id, d.Attempt, d.Meta.Key, headers, d.Body) })
	b := p.bus.Broker()
	var err error
	switch {
	case out.taken:
		err = b.Ack(d.Queue, d.Seq, d.Attempt, nil)
	case ctx.Err() != nil:
		b.Return(d) // it may have been handled, so it may come twice; that is the contract
	default:
		err = b.Nack(d.Queue, d.Seq, d.Attempt, out.delay, out.reason, nil)
	}
	if err != nil && !errors.Is(err, workqueue.ErrSettled) {
		p.bus.cfg.Log.Warn("settling a pushed message", "queue", d.Queue, "message", d.Seq, "error", err)
	}
}

func (p *pusher) serveTopic(ctx context.Context) {
	s := places{freed: make(chan struct{}, 1)}
	defer s.group.Wait()
	said, at := "", time.Time{}
	for ctx.Err() == nil {
		c, err := p.bus.group(ctx, p.name, p.to.Name, maxPushed)
		if err == nil {
			err = p.drainTopic(ctx, c, &s)
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		if said != err.Error() || time.Since(at) > time.Minute { // an engine may be out of reach for long
			said, at = err.Error(), time.Now()
			p.bus.cfg.Log.Warn("pushing a topic's events", "topic", p.name, "to", p.to.Name, "error", err)
		}
		pause(ctx, time.Second)
	}
}

func (p *pusher) drainTopic(ctx context.Context, c eventGroup, s *places) error {
	limit := p.bus.limitOf(p.name, p.to.Name)
	for {
		n := s.take(ctx, p.limit)
		if n == 0 {
			return nil
		}
		allowed := limit.await(ctx, n)
		s.give(n - allowed)
		if n = allowed; n == 0 {
			return nil
		}
		waiting, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := c.each(waiting, n, func(e event) {
			n--
			s.group.Add(1)
			go func() {
				defer s.group.Done()
				defer s.give(1)
				p.pushEvent(ctx, e)
			}()
		})
		cancel()
		s.give(n)
		limit.give(n)
		if err != nil {
			return err
		}
	}
}

func (p *pusher) pushEvent(ctx context.Context, e event) {
	id := fmt.Sprintf("%s-%d", p.name, e.offset)
	if e.partition != nil {
		id = fmt.Sprintf("%s-%d-%d", p.name, *e.partition, e.offset)
	}
	out := p.once(ctx, orElse(e.id, id), func() outcome { return p.post(ctx, id, e.attempt, string(e.key), e.headers, e.body) })
	s := settlement{verb: "nack"}
	switch {
	case out.taken:
		s.verb = "ack"
	case ctx.Err() != nil:
	default:
		if s.delay = out.delay; s.delay < 0 {
			s.delay = topicBackoff.After(e.attempt, float64(e.offset%97)/97)
		}
		p.bus.cfg.Log.Debug("an event was not taken", "topic", p.name, "to", p.to.Name, "offset", e.offset, "reason", out.reason, "again_in", s.delay)
	}
	if err := e.settle(s); err != nil && ctx.Err() == nil {
		p.bus.cfg.Log.Warn("settling a pushed event", "topic", p.name, "offset", e.offset, "error", err)
	}
}

// outcome of a delivery. A negative delay leaves it to the back-off.
type outcome struct {
	taken  bool
	reason string
	delay  time.Duration
}

// post sends a message to the service: any 2xx takes it. Other answers, and none, are failures; Retry-After says how long to
// wait.
func (p *pusher) post(ctx context.Context, id string, attempt int, key string, headers []broker.Header, body []byte) outcome {
	ctx, cancel := context.WithTimeout(ctx, p.wait)
	defer cancel()
	failed := func(reason string) outcome { return outcome{reason: reason, delay: -1} }
	url := p.to.URL()
	if url == "" {
		return failed("the service is not reachable")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return failed(err.Error())
	}
	for _, h := range headers {
		if pushable(h.Name) && !strings.ContainsFunc(h.Value, control) {
			r.Header.Add(h.Name, h.Value)
		}
	}
	if r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/octet-stream")
	}
	r.Header.Set("Webhook-Id", id)
	timestamp, signature := sign(p.bus.cfg.Secret, id, time.Now(), body)
	r.Header.Set("Webhook-Timestamp", timestamp)
	r.Header.Set("Webhook-Signature", signature)
	r.Header.Set("Banyan-"+strings.ToUpper(p.kind[:1])+p.kind[1:], p.name)
	r.Header.Set("Banyan-Attempt", strconv.Itoa(attempt))
	if key != "" && !strings.ContainsFunc(key, control) {
		r.Header.Set(headerKey, key)
	}
	r.Header.Set("Idempotency-Key", id)
	answer, err := p.http.Do(r)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return failed(fmt.Sprintf("no answer within %s", p.wait))
		}
		return failed(err.Error())
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 1024))
	io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection can be used again
	if answer.StatusCode/100 == 2 {
		return outcome{taken: true}
	}
	out := failed(strings.TrimSpace(answer.Status + " " + strings.TrimSpace(string(text))))
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds >= 0 && seconds <= 3600 {
		out.delay = time.Duration(seconds) * time.Second
	}
	return out
}

// control reports whether HTTP takes a character in no header.
func control(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// pushable reports whether a stored header goes with a delivery: those that mean something to HTTP itself do not.
func pushable(name string) bool {
	switch strings.ToLower(name) {
	case "host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "expect", "authorization", "cookie",
		"proxy-authorization", "proxy-connection", "keep-alive":
		return false
	}
	for _, r := range name {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) {
			return false
		}
	}
	return name != ""
}
