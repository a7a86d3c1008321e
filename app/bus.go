package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/banyanhq/banyan/bus"
	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/topology"
)

// busNodes is how many nodes the queues and topics of a file take: three if one of them is to be replicated.
func busNodes(sys *topology.System) int {
	for _, q := range sys.Queues {
		if q.Engine == "embedded" && q.Durability == string(broker.Replicated) {
			return 3
		}
	}
	for _, t := range sys.Topics {
		if t.Engine == "embedded" && t.Durability == string(broker.Replicated) {
			return 3
		}
	}
	return 1
}

// busReady bounds how long the nodes of the bus may take to come together; they need a few seconds.
const busReady = time.Minute

// awaitBus waits until the queues serve, so that services find them do.
func (a *App) awaitBus(ctx context.Context) error {
	b := a.bus.Load()
	if b == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, busReady)
	defer cancel()
	return b.Ready(ctx)
}

// openBus reads what the queues and topics hold, and opens their addresses, if the file has any.
func (a *App) openBus() error {
	sys := a.cfg.System
	queues, topics := bus.FromFile(sys)
	if a.cfg.GatewayOnly || len(queues)+len(topics)+len(sys.Sagas) == 0 {
		return nil
	}
	sagas, err := bus.SagasFromFile(sys)
	if err != nil {
		return err
	}
	dir := filepath.Join(a.cfg.Dir, "data", "bus")
	secret, err := webhookSecret(dir)
	if err != nil {
		return err
	}
	for name, q := range queues {
		q.Push = a.pushes("queues."+name, sys.Queues[name].Push, sys.Queues[name].Consumers, sys.Queues[name].Inbox.Std())
		queues[name] = q
	}
	for name, t := range topics {
		if from := sys.Topics[name].From; from != nil {
			t.From = a.outbox(from.Table)
		}
		t.Push = a.pushes("topics."+name, sys.Topics[name].Push, sys.Topics[name].Consumers, sys.Topics[name].Inbox.Std())
		topics[name] = t
	}
	b, err := bus.NewNodes(bus.Config{Dir: dir, Queues: queues, Topics: topics, Sagas: sagas, ServiceURL: a.sagaCalls(sys), Secret: secret, Log: a.cfg.Log}, busNodes(sys))
	if err != nil {
		return err
	}
	if err := b.Listen(); err != nil {
		return err
	}
	a.bus.Store(&b)
	return nil
}

// sagaCalls says where sagas call a service: at the gateway, while a replica is ready, so that no attempt is used up while
// none is; or where one that is scaled to zero wakes by the call.
func (a *App) sagaCalls(sys *topology.System) func(saga, service string) string {
	ready := map[string]func() int{}
	for _, v := range sys.Sagas {
		for _, service := range v.Calls() {
			ready[service] = remembered(time.Second, func() int { return a.readyReplicas(service) })
		}
	}
	return func(saga, service string) string {
		s := a.system.Load().Services[service]
		asleep := s != nil && s.Replicas.Min == 0
		if count := ready[service]; count == nil || count() == 0 && !asleep {
			return ""
		}
		return a.gateway.EdgeURL("sagas."+saga, service)
	}
}

// pushes says whom a queue or topic pushes to: the service's replicas, by the gateway, as many deliveries at once as all
// replicas handle together.
func (a *App) pushes(from string, paths map[string]string, consumers map[string]int, inbox time.Duration) (all []bus.Push) {
	for service, path := range paths {
		replicas := remembered(time.Second, func() int { return a.readyReplicas(service) })
		all = append(all, bus.Push{
			Name: service, Inbox: inbox,
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

// outbox has the changes of a table get into a topic.
func (a *App) outbox(table string) *bus.Outbox {
	return &bus.Outbox{Table: table, Changes: func(ctx context.Context, behind uint64, limit int) (all []bus.Change, err error) {
		s := a.tables.Load()
		if s == nil {
			return nil, nil // not yet
		}
		changes, err := s.Changes(ctx, table, behind, limit)
		for _, c := range changes {
			all = append(all, bus.Change{Sequence: c.Sequence, At: c.At, Kind: c.Kind, Key: c.Key, Record: c.Record})
		}
		return all, err
	}}
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
	sys := a.system.Load()
	what := "queues and topics"
	if len(sys.Sagas) > 0 {
		what = "queues, topics and sagas"
	}
	if n := len(*b); n > 1 {
		what += fmt.Sprintf(" of %d nodes", n)
	}
	all = append(all, what+" on "+b.NATSURL()+" and "+b.HTTPURL())
	for _, s := range b.Broker().Status() {
		if s.Declared && s.Durability != broker.Durable {
			all = append(all, "queue "+s.Name+" is "+s.Label)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sys.Topics)) {
		if engine := sys.Topics[name].Engine; engine != "embedded" {
			all = append(all, "topic "+name+" is at "+engine)
		}
	}
	return all
}

// kafkaEnviron is what a service finds of a topic of Kafka, in the words of Kafka's clients: where the brokers are, how to say who one is,
// and what the topic is called there (ORDERS_KAFKA_TOPIC).
func kafkaEnviron(name, text string, path func(string) string) []string {
	u, err := topology.ParseKafkaURL(text)
	if err != nil {
		return nil // the file was checked
	}
	protocol := "PLAINTEXT"
	if u.TLS {
		protocol = "SSL"
	}
	if u.Topic == "" {
		u.Topic = name
	}
	env := []string{strings.TrimSuffix(VariableOf(name), "_URL") + "_KAFKA_TOPIC=" + u.Topic, "KAFKA_BOOTSTRAP_SERVERS=" + strings.Join(u.Brokers, ",")}
	if u.SASL != "" {
		protocol = "SASL_" + protocol
		if u.PasswordEnv != "" {
			u.Password = os.Getenv(u.PasswordEnv)
		}
		env = append(env, "KAFKA_SASL_MECHANISM="+strings.ToUpper(u.SASL), "KAFKA_SASL_USERNAME="+u.User, "KAFKA_SASL_PASSWORD="+u.Password)
	}
	for _, f := range []struct{ variable, file string }{{"CA", u.CA}, {"CERTIFICATE", u.Cert}, {"KEY", u.Key}} {
		if f.file != "" {
			env = append(env, "KAFKA_SSL_"+f.variable+"_LOCATION="+path(f.file))
		}
	}
	return append(env, "KAFKA_SECURITY_PROTOCOL="+protocol)
}

// firstOfEach leaves out variables that stand there already.
func firstOfEach(env []string) (out []string) {
	seen := map[string]bool{}
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		if !seen[name] {
			out = append(out, v)
		}
		seen[name] = true
	}
	return out
}

// busEnviron is what a service finds in its environment of the queues and topics that it uses or handles: NATS_URL, BUS_URL, the
// URL of each (PAYMENTS_QUEUE_URL, ORDER_PLACED_TOPIC_URL, and CHECKOUT_SAGA_URL of a saga), of topics of Kafka where that is, and, where messages are pushed to it, the secret that they are signed
// with.
func (a *App) busEnviron(service string) (env []string) {
	sys := a.system.Load()
	svc := sys.Services[service]
	if svc == nil {
		return nil
	}
	b := a.bus.Load()
	natsURL, pushed := "", false
	var kafka []string
	add := func(kind, name, engine, url string) {
		if b != nil && (engine == "embedded" || kind == "topic") {
			env = append(env, VariableOf(name+"-"+kind)+"="+b.HTTPURL()+"/"+kind+"s/"+name)
		}
		if engine == "embedded" && b != nil {
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
			if t.Engine == "kafka" {
				kafka = append(kafka, kafkaEnviron(name, t.URL, sys.Path)...)
			}
			pushed = pushed || t.Push[service] != ""
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sys.Sagas)) {
		if b != nil && slices.Contains(svc.Uses, "sagas."+name) {
			env = append(env, VariableOf(name+"-saga")+"="+b.HTTPURL()+"/sagas/"+name)
		}
	}
	env = append(env, firstOfEach(kafka)...)
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
