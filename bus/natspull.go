package bus

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/policy/workqueue"
)

// natsPull is a request for messages that is not answered in full yet.
type natsPull struct {
	pull      *broker.Pull
	reply     string
	ends      time.Time // zero: not by itself
	status    string    // that tells the end
	heartbeat time.Duration

	mu     sync.Mutex
	sent   time.Time // when anything was last sent
	looked time.Time // when it was last made sure that its client is there
	left   int
}

// next has a client wait for messages.
func (f *natsFront) next(in inbound, queue, consumer string) {
	if in.reply == "" {
		return
	}
	ask := server.JSApiConsumerGetNextRequest{Batch: 1}
	if body := strings.TrimSpace(string(in.body)); body != "" {
		if n, err := strconv.Atoi(body); err == nil {
			ask.Batch = n
		} else if err := json.Unmarshal([]byte(body), &ask); err != nil {
			f.send(in.reply, "", "400 Bad Request", nil, nil)
			return
		}
	}
	if ask.Batch == 0 {
		ask.Batch = 1
	}
	if ask.Batch < 0 || ask.Batch > maxBatch || ask.MaxBytes > 0 || ask.Heartbeat < 0 {
		f.send(in.reply, "", "400 Bad Request", nil, nil)
		return
	}
	now := time.Now()
	p := &natsPull{reply: in.reply, heartbeat: ask.Heartbeat, sent: now, looked: now, left: ask.Batch, status: "408 Request Timeout"}
	account := f.bus.nats.GlobalAccount()
	p.pull = &broker.Pull{Batch: ask.Batch, Consumer: consumer, Alive: func() bool { return account.SubscriptionInterest(in.reply) },
		Deliver: func(d broker.Delivery, last bool) { f.deliver(p, consumer, d, last) }}
	switch {
	case ask.Expires > 0:
		p.ends = now.Add(ask.Expires)
	case ask.NoWait: // the clock does not end it: a client that drains a queue takes what it hears for its end
		p.status, p.pull.Empty = "404 No Messages", p.endNow
	}
	if !f.add(p) {
		f.send(in.reply, "", "409 Exceeded MaxWaiting", nil, nil)
		return
	}
	if err := f.broker.Pull(queue, p.pull); err != nil {
		f.forget(p)
		f.send(in.reply, "", "409 Consumer Deleted", nil, nil)
	}
}

// endNow has the request end the next time it is looked at.
func (p *natsPull) endNow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ends = time.Now()
}

// add takes a request among those that wait, if there is room for it.
func (f *natsFront) add(p *natsPull) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.pulls) >= maxPulls {
		for other := range f.pulls {
			if !other.pull.Alive() {
				delete(f.pulls, other) // the broker finds out by itself
			}
		}
	}
	if len(f.pulls) >= maxPulls {
		return false
	}
	f.pulls[p] = struct{}{}
	return true
}

func (f *natsFront) forget(p *natsPull) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pulls, p)
}

// deliver sends a message. Dead letters say in headers where they come from.
func (f *natsFront) deliver(p *natsPull, consumer string, d broker.Delivery, last bool) {
	reply := make([]byte, 0, 160)
	reply = append(append(append(append(reply, "$JS.ACK."...), d.Queue...), '.'), consumer...)
	for _, n := range []int64{int64(d.Attempt), int64(d.Seq), int64(d.Seq), int64(d.Meta.Put), int64(d.Pending)} {
		reply = strconv.AppendInt(append(reply, '.'), n, 10)
	}
	// The server gives the message the subject that stands here: some clients take what comes under their inbox for a status.
	reply = append(append(reply, "@queues."...), d.Queue...)
	if d.Meta.Key != "" && validKey(d.Meta.Key) {
		reply = append(append(reply, '.'), d.Meta.Key...)
	}
	headers := d.Headers
	if d.Meta.Origin != "" {
		headers = append(headers, deadHeaders(d.Meta)...)
	}
	p.mu.Lock()
	p.sent = time.Now()
	p.left--
	p.mu.Unlock()
	f.send(p.reply, string(reply), "", headers, d.Body)
	if last {
		f.forget(p)
	}
}

// deadHeaders say what a dead letter died of.
func deadHeaders(m workqueue.Message) []broker.Header {
	return []broker.Header{
		{Name: "Dead-Letter-Queue", Value: m.Origin}, {Name: "Dead-Letter-Seq", Value: strconv.FormatUint(m.OriginSeq, 10)},
		{Name: "Dead-Letter-Attempts", Value: strconv.Itoa(len(m.History))}, {Name: "Dead-Letter-Reason", Value: oneLine(m.LastReason())},
	}
}

// mind ends requests whose time is over, and sends heartbeats.
func (f *natsFront) mind(ctx context.Context) {
	tick := time.NewTicker(mindEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			f.mindAll(now)
		}
	}
}

func (f *natsFront) mindAll(now time.Time) {
	var over []*natsPull
	f.mu.Lock()
	for p := range f.pulls {
		p.mu.Lock()
		switch {
		case !p.ends.IsZero() && now.After(p.ends):
			over = append(over, p)
		case now.Sub(p.looked) > lookEvery:
			if p.looked = now; !p.pull.Alive() {
				over = append(over, p)
			}
		case p.heartbeat > 0 && now.Sub(p.sent) >= p.heartbeat:
			p.sent = now
			f.send(p.reply, "", "100 Idle Heartbeat", nil, nil)
		}
		p.mu.Unlock()
	}
	for _, p := range over {
		delete(f.pulls, p)
	}
	f.mu.Unlock()
	for _, p := range over {
		f.broker.Cancel(p.pull)
		if p.left > 0 {
			f.send(p.reply, "", p.status, []broker.Header{{Name: "Nats-Pending-Messages", Value: strconv.Itoa(p.left)}, {Name: "Nats-Pending-Bytes", Value: "0"}}, nil)
		}
	}
}
