package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/banyanhq/banyan/bus/audit"
)

// makeStream makes the work queue that stands for a queue on a plain server.
func makeStream(ctx context.Context, p *process) error {
	conn, err := nats.Connect(p.url)
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "jobs", Subjects: []string{"queues.jobs", "queues.jobs.>"}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage})
	if err != nil {
		return err
	}
	_, err = js.CreateConsumer(ctx, "jobs", jetstream.ConsumerConfig{Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10000})
	return err
}

// plain has a plain server get its stream first.
func plain(work func(context.Context, *process, options) (figures, error)) func(context.Context, *process, options) (figures, error) {
	return func(ctx context.Context, p *process, o options) (figures, error) {
		if err := makeStream(ctx, p); err != nil {
			return figures{}, err
		}
		return work(ctx, p, o)
	}
}

// publishAll has producers, each with a connection of its own, publish one message after the other.
func publishAll(ctx context.Context, p *process, o options) (figures, error) {
	body := make([]byte, o.size)
	return produce(ctx, o, func() (func(context.Context) error, func(), error) {
		conn, err := nats.Connect(p.url)
		if err != nil {
			return nil, nil, err
		}
		js, err := jetstream.New(conn)
		return func(ctx context.Context) error {
			_, err := js.Publish(ctx, "queues.jobs", body)
			return err
		}, conn.Close, err
	})
}

// produce runs producers for a while and takes the time of each call.
func produce(ctx context.Context, o options, producer func() (call func(context.Context) error, end func(), err error)) (figures, error) {
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	var group sync.WaitGroup
	begin := make(chan struct{})
	var begun time.Time
	for range o.producers {
		call, end, err := producer()
		if err != nil {
			return figures{}, err
		}
		group.Go(func() {
			defer end()
			<-begin
			var own []time.Duration
			for time.Since(begun) < o.time {
				t := time.Now()
				if err := call(ctx); err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
					return
				}
				own = append(own, time.Since(t))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, own...)
		})
	}
	begun = time.Now()
	close(begin)
	group.Wait()
	return summarise(all, time.Since(begun)), failed
}

// natsClient is a client of NATS that publishes.
type natsClient struct {
	name    string
	publish func(context.Context, *process, options) (figures, error)
}

// natsClients are those that a comparison is made with, each for itself: what a client costs is not there for the server, which shares the cores.
func (o options) natsClients() []natsClient {
	var out []natsClient
	for _, c := range []natsClient{{"lean", publishLean}, {"nats.go", publishAll}} {
		if o.client == "both" || o.client == c.name {
			out = append(out, c)
		}
	}
	return out
}

// rabbits are RabbitMQ's queues, with the client of its makers.
func rabbits() []contender {
	if !hasRabbitMQ() {
		fmt.Println("RabbitMQ is not installed and takes no part")
		return nil
	}
	return []contender{{"RabbitMQ, quorum queue, confirms", rabbitMQ, publishRabbit("quorum")},
		{"RabbitMQ, classic queue, confirms", rabbitMQ, publishRabbit("classic")}}
}

func publish(o options) error {
	for _, c := range o.natsClients() {
		contenders := []contender{
			{"JetStream, sync always", jetStream("always"), plain(c.publish)},
			{"banyan, durable", banyanQueue("durability: durable"), c.publish},
		}
		if c.name == "nats.go" { // what its makers' client gets of each server
			contenders = append(contenders, rabbits()...)
		}
		contenders = o.withOther(contenders, "durability: durable", c.publish)
		if err := compete(o, fmt.Sprintf("durable publish, %d producers, %d B, client: %s", o.producers, o.size, c.name), contenders); err != nil {
			return err
		}
	}
	return nil
}

func relaxed(o options) error {
	for _, c := range o.natsClients() {
		if err := compete(o, fmt.Sprintf("relaxed publish, %d producers, %d B, client: %s", o.producers, o.size, c.name), o.withOther([]contender{
			{"JetStream, its default (2 min)", jetStream(`"2m"`), plain(c.publish)},
			{"banyan, relaxed (1 s)", banyanQueue("durability: relaxed"), c.publish},
		}, "durability: relaxed", c.publish)); err != nil {
			return err
		}
	}
	return nil
}

// consumeAll fills the queue and takes the time until 16 consumers have acknowledged everything.
func consumeAll(ctx context.Context, p *process, o options) (figures, error) {
	conn, err := nats.Connect(p.url)
	if err != nil {
		return figures{}, err
	}
	defer conn.Close()
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(256), jetstream.WithPublishAsyncTimeout(time.Minute))
	if err != nil {
		return figures{}, err
	}
	const n = 20000
	for range n {
		if _, err := js.PublishAsync("queues.jobs", make([]byte, o.size), jetstream.WithStallWait(time.Minute)); err != nil {
			return figures{}, err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		return figures{}, ctx.Err()
	}
	var left sync.WaitGroup
	left.Add(n)
	begun := time.Now()
	for range 16 {
		own, err := nats.Connect(p.url)
		if err != nil {
			return figures{}, err
		}
		defer own.Close()
		js, err := jetstream.New(own)
		if err != nil {
			return figures{}, err
		}
		c, err := js.Consumer(ctx, "jobs", "workers")
		if err != nil {
			return figures{}, err
		}
		run, err := c.Consume(func(m jetstream.Msg) {
			m.Ack()
			left.Done()
		}, jetstream.PullMaxMessages(200))
		if err != nil {
			return figures{}, err
		}
		defer run.Stop()
	}
	left.Wait()
	for s, err := js.Stream(ctx, "jobs"); ; s, err = js.Stream(ctx, "jobs") {
		if err != nil {
			return figures{}, err
		}
		if s.CachedInfo().State.Msgs == 0 {
			break
		}
	}
	return figures{messages: n, rate: n / time.Since(begun).Seconds()}, nil
}

func consume(o options) error {
	return compete(o, "consume and acknowledge 20,000 that wait, 16 consumers", []contender{
		{"JetStream, sync always", jetStream("always"), plain(consumeAll)},
		{"banyan, durable", banyanQueue("durability: durable"), consumeAll},
	})
}

// order takes the time of 2,000 messages of 1,000 keys, each of which keeps its worker busy for 2 ms.
func order(o options) error {
	workers := func(n int) func(context.Context, *process, options) (figures, error) {
		return func(ctx context.Context, p *process, o options) (figures, error) { return orderedWork(ctx, p, n) }
	}
	return compete(o, "order within 1,000 keys, 2 ms of waiting for each message", []contender{
		{"banyan, 1 worker", banyanQueue("ordered: true"), workers(1)},
		{"banyan, 16 workers", banyanQueue("ordered: true"), workers(16)},
	})
}

func orderedWork(ctx context.Context, p *process, workers int) (figures, error) {
	conn, err := nats.Connect(p.url)
	if err != nil {
		return figures{}, err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return figures{}, err
	}
	const n = 2000
	for i := range n {
		if _, err := js.PublishAsync(fmt.Sprintf("queues.jobs.k%d", i%1000), fmt.Append(nil, i), jetstream.WithStallWait(time.Minute)); err != nil {
			return figures{}, err
		}
	}
	<-js.PublishAsyncComplete()
	var mu sync.Mutex
	last := map[int]int{}
	var problem error
	done := make(chan struct{}, n)
	working, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	begun := time.Now()
	for range workers {
		c, err := js.Consumer(ctx, "jobs", "workers")
		if err != nil {
			stop()
			return figures{}, err
		}
		group.Go(func() {
			for working.Err() == nil {
				batch, err := c.Fetch(1, jetstream.FetchMaxWait(time.Second))
				if err != nil {
					continue
				}
				for m := range batch.Messages() {
					var i int
					fmt.Sscan(string(m.Data()), &i)
					time.Sleep(2 * time.Millisecond) // the work: a call that is waited for
					mu.Lock()
					if i < last[i%1000] {
						problem = fmt.Errorf("message %d came after %d", i, last[i%1000])
					}
					last[i%1000] = i
					mu.Unlock()
					m.Ack()
					done <- struct{}{}
				}
			}
		})
	}
	for range n {
		<-done
	}
	took := time.Since(begun)
	stop()
	group.Wait()
	return figures{messages: n, rate: n / took.Seconds()}, problem
}

// schedule says how late scheduled messages come.
func schedule(o options) error {
	dir := filepath.Join(o.dir, "schedule")
	p, err := banyanQueue("durability: durable")(o, dir)
	if err != nil {
		return err
	}
	defer p.stop()
	conn, err := nats.Connect(p.url)
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := js.Consumer(ctx, "jobs", "workers")
	if err != nil {
		return err
	}
	late := make(chan time.Duration, 200)
	run, err := c.Consume(func(m jetstream.Msg) {
		at, err := time.Parse(time.RFC3339Nano, m.Headers().Get("Due"))
		if err == nil {
			late <- time.Since(at)
		}
		m.Ack()
	})
	if err != nil {
		return err
	}
	defer run.Stop()
	for i := range cap(late) {
		at := time.Now().Add(time.Second + time.Duration(i)*7*time.Millisecond).Format(time.RFC3339Nano)
		if _, err := js.PublishMsg(ctx, &nats.Msg{Subject: "queues.jobs", Header: nats.Header{"Nats-Schedule": {"@at " + at}, "Due": {at}}}); err != nil {
			return err
		}
	}
	var all []time.Duration
	for range cap(late) {
		select {
		case d := <-late:
			all = append(all, d)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	slices.Sort(all)
	fmt.Printf("\n%d scheduled messages: the earliest came %s after its time, half of them %s, the latest %s\n", len(all), all[0], all[len(all)/2], all[len(all)-1])
	return nil
}

// kills has the auditor work while the process dies again and again.
func kills(o options) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	begun := time.Now()
	r, err := audit.Drive{
		Command: func(natsAddress, httpAddress string) *exec.Cmd {
			cmd := exec.Command(o.banyan, "bus", "--dir", filepath.Join(o.dir, "kills"), "--listen", natsAddress, "--http", httpAddress,
				"--queue", "jobs: {ordered: true, ack_wait: 500ms, max_deliver: 4, dead_letter: jobs-dead}")
			cmd.Stderr = os.Stderr
			return cmd
		},
		Kills: o.kills, Life: 500 * time.Millisecond, Pauses: true,
		Audit: audit.Config{Queue: "jobs", Dead: "jobs-dead", Producers: 8, Consumers: 8, KeysEach: 5, PoisonEvery: 23},
	}.Run(ctx)
	return tell(r, err, begun)
}

// tell says what an auditor saw.
func tell(r audit.Report, err error, begun time.Time) error {
	fmt.Printf("\n%d kills (%d of the node that led) and %d stops in %s: %d published, %d delivered, %d of them again; %d promises broken\n", r.Killed, r.Led, r.Deaths-r.Killed, time.Since(begun).Round(time.Second), r.Published, r.Delivered, r.Again, len(r.Problems))
	if n := len(r.Outages); n > 0 {
		slices.Sort(r.Outages)
		fmt.Printf("from a kill to the next acknowledgement: half within %s, nine of ten within %s, the longest %s\n", r.Outages[n/2].Round(time.Millisecond),
			r.Outages[n*9/10].Round(time.Millisecond), r.Outages[n-1].Round(time.Millisecond))
	}
	if r.Away > 0 {
		fmt.Printf("of the time, nodes were kept away for %s, and it was waited for %s until all had all data\n", r.Away.Round(time.Second), r.Awaited.Round(time.Second))
	}
	for _, p := range r.Problems {
		fmt.Println(" ", p)
	}
	if err == nil && len(r.Problems) > 0 {
		err = errors.New("promises were broken")
	}
	return err
}
