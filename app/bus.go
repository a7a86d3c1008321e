package app

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/banyanhq/banyan/bus"
	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/topology"
)

// unsupportedBus says which queues and topics of a valid file can't be run.
func unsupportedBus(sys *topology.System) (parts []string) {
	for _, name := range slices.Sorted(maps.Keys(sys.Queues)) {
		if q := sys.Queues[name]; q.Durability == string(broker.Replicated) && q.Engine == "embedded" {
			parts = append(parts, "queues."+name+": durability replicated: not supported yet; durable is what one node can do")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sys.Topics)) {
		switch t := sys.Topics[name]; {
		case t.Engine == "kafka":
			parts = append(parts, "topics."+name+": engine kafka: not supported yet")
		case t.Durability == string(broker.Replicated) && t.Engine == "embedded":
			parts = append(parts, "topics."+name+": durability replicated: not supported yet; durable is what one node can do")
		}
	}
	return parts
}

// openBus reads what the queues and topics hold, and opens their addresses, if the file has any.
func (a *App) openBus() error {
	sys := a.cfg.System
	queues, topics := bus.FromFile(sys)
	if a.cfg.GatewayOnly || len(queues)+len(topics) == 0 {
		return nil
	}
	dir := filepath.Join(a.cfg.Dir, "data", "bus")
	secret, err := webhookSecret(dir)
	if err != nil {
		return err
	}
	for name, q := range queues {
		q.Push = a.pushes("queues."+name, sys.Queues[name].Push, sys.Queues[name].Consumers)
		queues[name] = q
	}
	for name, t := range topics {
		t.Push = a.pushes("topics."+name, sys.Topics[name].Push, sys.Topics[name].Consumers)
		topics[name] = t
	}
	b, err := bus.New(bus.Config{Dir: dir, Queues: queues, Topics: topics, Secret: secret, Log: a.cfg.Log})
	if err != nil {
		return err
	}
	if err := b.Listen(); err != nil {
		return err
	}
	a.bus.Store(b)
	return nil
}

// pushes says whom a queue or topic pushes to: the service's replicas, by the gateway, as many deliveries at once as all
// replicas handle together.
func (a *App) pushes(from string, paths map[string]string, consumers map[string]int) (all []bus.Push) {
	for service, path := range paths {
		replicas := remembered(time.Second, func() int { return a.readyReplicas(service) })
		all = append(all, bus.Push{
			Name: service,
			URL: func() string {
				if url := a.gateway.EdgeURL(from, service); url != "" {
					return url + path
				}
				return ""
			},
			// Nothing is pushed while no replica is ready, for that would only use up attempts; but to a service that is
			// scaled to zero, so that it wakes.
			Concurrency: func() int {
				n := replicas()
				if s := a.system.Load().Services[service]; n == 0 && s != nil && s.Replicas.Min == 0 {
					n = 1
				}
				return consumers[service] * n
			},
		})
	}
	return all
}

func (a *App) readyReplicas(service string) (n int) {
	for _, b := range a.gateway.Stats().Backends {
		if b.Service == service && b.Ready && !b.Draining {
			n++
		}
	}
	return n
}

// remembered asks f at most once in a while.
func remembered(while time.Duration, f func() int) func() int {
	var mu sync.Mutex
	var asked time.Time
	var value int
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(asked) >= while {
			asked, value = now, f()
		}
		return value
	}
}

// webhookSecret is what deliveries are signed with: made once, and kept beside the data.
func webhookSecret(dir string) ([]byte, error) {
	path := filepath.Join(dir, "webhook.secret")
	text, err := os.ReadFile(path)
	if err == nil {
		secret, err := bus.ParseSecret(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return secret, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the secret of the queues: %w", err)
	}
	secret := make([]byte, 32)
	rand.Read(secret) // never fails
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the queues: %w", err)
	}
	if err := os.WriteFile(path, []byte(bus.SecretText(secret)+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("writing the secret of the queues: %w", err)
	}
	return secret, nil
}

func (a *App) busURL() string {
	if b := a.bus.Load(); b != nil {
		return b.HTTPURL()
	}
	return ""
}

// busEndpoints says, for people, where the queues and topics are, and what relaxed ones may lose.
func (a *App) busEndpoints() (all []string) {
	b := a.bus.Load()
	if b == nil {
		return nil
	}
	all = append(all, "queues and topics on "+b.NATSURL()+" and "+b.HTTPURL())
	for _, s := range b.Broker().Status() {
		if s.Declared && s.Durability != broker.Durable {
			all = append(all, "queue "+s.Name+" is "+s.Label)
		}
	}
	return all
}

// busEnviron is what a service finds in its environment of the queues and topics that it uses or handles: NATS_URL, BUS_URL, the
// URL of each (PAYMENTS_QUEUE_URL, ORDER_PLACED_TOPIC_URL), and, where messages are pushed to it, the secret that they are signed
// with.
func (a *App) busEnviron(service string) (env []string) {
	sys := a.system.Load()
	svc := sys.Services[service]
	if svc == nil {
		return nil
	}
	b := a.bus.Load()
	natsURL, pushed := "", false
	add := func(kind, name, engine, url string) {
		if engine == "embedded" && b != nil {
			env = append(env, VariableOf(name+"-"+kind)+"="+b.HTTPURL()+"/"+kind+"s/"+name)
			url = b.NATSURL()
		}
		if natsURL == "" && engine != "kafka" {
			natsURL = url
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sys.Queues)) {
		q := sys.Queues[name]
		if slices.Contains(svc.Uses, "queues."+name) || q.Consumers[service] > 0 {
			add("queue", name, q.Engine, q.URL)
			pushed = pushed || q.Push[service] != ""
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sys.Topics)) {
		t := sys.Topics[name]
		if slices.Contains(svc.Uses, "topics."+name) || t.Consumers[service] > 0 {
			add("topic", name, t.Engine, t.URL)
			pushed = pushed || t.Push[service] != ""
		}
	}
	if natsURL != "" {
		env = append(env, "NATS_URL="+natsURL)
	}
	if b != nil && len(env) > 0 {
		env = append(env, "BUS_URL="+b.HTTPURL())
		if pushed {
			env = append(env, "WEBHOOK_SECRET="+bus.SecretText(b.Secret()))
		}
	}
	return env
}
