package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/bus/inbox"
	"github.com/banyanhq/banyan/bus/journal"
	"github.com/banyanhq/banyan/bus/schema"
	"github.com/banyanhq/banyan/policy/workqueue"
	"github.com/banyanhq/banyan/topology"
)

// Config of a Bus.
type Config struct {
	// Dir holds the journal of the queues and the streams of the topics.
	Dir string
	// NATS and HTTP are the addresses to be reached at. Default: 127.0.0.1 with any free port.
	NATS, HTTP string
	// Queues and Topics by name. A name is of lower case letters, digits and hyphens, and stands for one of them.
	Queues map[string]Queue
	Topics map[string]Topic
	// Sagas that can be started. Their queues and topics must be among those above.
	Sagas []Saga
	// ServiceURL is where a saga calls a service; asked for before each call. Empty: nowhere now. It must know each service that
	// the sagas call.
	ServiceURL func(saga, service string) string
	// Cluster has it be one of several nodes. Nil: it stands alone.
	Cluster *Cluster
	// Token that clients of both addresses must give. Empty: none.
	Token string
	// MaxMessage bounds headers and body of a message. Default 1 MiB, at most 8 MiB.
	MaxMessage int
	// MaxClients bounds the connections to each address. Default 10000.
	MaxClients int
	// Secret signs what is pushed to services. At least 24 bytes where there is a Push.
	Secret []byte
	// Room is how many bytes are free of the disk of a folder, and how many it has. Default: as the system says.
	Room func(dir string) (free, total uint64, err error)
	// Log of what operators should know. Default: none.
	Log *slog.Logger
}

// Queue of a Config.
type Queue struct {
	broker.QueueConfig
	Push []Push
}

// Topic of a Config.
type Topic struct {
	// Engine that has the events: nats or kafka, at URL; empty: the embedded server. Schemas and changes of tables take that.
	Engine, URL string
	// Partitions of a topic of Kafka that is not there yet. Default 1.
	Partitions int
	// Path finds the files that URL names. Nil: they are found as they are named.
	Path func(string) string
	// Retain is how long events are kept; of another engine's topic that is there already, how long they must be. Not of Kafka. Default 24h.
	Retain time.Duration
	// Durability of its events. Default: durable.
	Durability broker.Durability
	Push       []Push
	// Limits of the deliveries to single consumer groups, by name, of those pushed to and those that fetch by HTTP.
	Limits map[string]workqueue.Limit
	// Filters say which events single consumer groups get, by name, as Limits; the others count as handled.
	Filters map[string]*topology.EventFilter
	// From has it consist of the changes of a table. Nil: of what clients publish.
	From *Outbox
	// SchemaFile has the schema of its events, JSON Schema or Protobuf. Empty: the one that was registered, if any.
	SchemaFile string
	// Compatibility of a new schema with the one before. Default: backward.
	Compatibility schema.Level
}

// Push has messages posted to a service.
type Push struct {
	// Name of who is pushed to; of a topic, it is a consumer group of its own.
	Name string
	// URL to post to; asked for before each delivery. Empty: there is none now.
	URL func() string
	// Concurrency is how many deliveries may be under way at once; asked for before each, 0 stops them for now. Default 1.
	Concurrency func() int
	// Inbox is for how long the ids of messages are remembered that it has taken: one with the same id is then acknowledged
	// without being posted. 0: not at all.
	Inbox time.Duration
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`)

// most messages of 8 MiB are what NATS itself recommends as the upper bound.
const mostMessage = 8 << 20

func (c *Config) validate() error {
	if c.NATS == "" {
		c.NATS = "127.0.0.1:0"
	}
	if c.HTTP == "" {
		c.HTTP = "127.0.0.1:0"
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = 1 << 20
	}
	if c.MaxMessage < 1 || c.MaxMessage > mostMessage {
		return fmt.Errorf("messages of up to %d bytes: expected 1 to %d", c.MaxMessage, mostMessage)
	}
	if c.MaxClients == 0 {
		c.MaxClients = 10000
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Room == nil {
		c.Room = journal.Room
	}
	pushes := 0
	for name, q := range c.Queues {
		if !namePattern.MatchString(name) {
			return fmt.Errorf("queue %q: expected a name of lower case letters, digits and hyphens", name)
		}
		if _, both := c.Topics[name]; both {
			return fmt.Errorf("%q is a queue and a topic: NATS clients know both by their name alone, so give one of them another", name)
		}
		pushes += len(q.Push)
	}
	for name, t := range c.Topics {
		if !namePattern.MatchString(name) {
			return fmt.Errorf("topic %q: expected a name of lower case letters, digits and hyphens", name)
		}
		if t.external() {
			if err := t.validateExternal(); err != nil {
				return fmt.Errorf("topic %s: %w", name, err)
			}
		}
		if t.From != nil && t.SchemaFile != "" {
			return fmt.Errorf("topic %s: it has a schema, and consists of the changes of a table, whose form is given", name)
		}
		if t.Compatibility != "" && !t.Compatibility.Valid() {
			return fmt.Errorf("topic %s: compatibility %q: expected backward, forward, full or none", name, t.Compatibility)
		}
		if t.Durability == broker.Replicated && c.Cluster == nil {
			return fmt.Errorf("topic %s: durability replicated takes several nodes; durable is what one can do", name)
		}
		pushes += len(t.Push)
	}
	for _, s := range c.Sagas {
		_, queue := c.Queues[s.Queue]
		t, topic := c.Topics[s.Topic]
		if topic && t.external() {
			return fmt.Errorf("the saga %s is started by %s, and sagas know the topics of the embedded engine only", s.Name, s.Topic)
		}
		if s.Queue != "" && !queue || s.Topic != "" && !topic {
			return fmt.Errorf("the saga %s is started by %s%s, which is not there", s.Name, s.Queue, s.Topic)
		}
	}
	if pushes > 0 && len(c.Secret) < 24 {
		return errors.New("what is pushed must be signed: a secret of at least 24 bytes is missing")
	}
	return c.validateCluster()
}

// Bus is a running bus. New, Listen and Run are called in this order, once.
type Bus struct {
	cfg      Config
	broker   atomic.Pointer[broker.Broker] // of a node that doesn't lead, one that is closed
	nats     *server.Server
	natsLog  *natsLog
	http     net.Listener
	leaf     leaf
	front    *natsFront      // nil: it never began, or the one of several nodes that leads has it
	toLeader *http.Transport // of requests that another node answers; nil: there are no others
	conn     *nats.Conn
	js       jetstream.JetStream
	sagas    atomic.Pointer[sagas] // nil: there are none, or another node runs them
	tight    atomic.Bool           // the disk has no room for events
	// unwritable says of streams of the embedded server that could not be written to, by name, what becomes of them: an error.
	unwritable sync.Map
	external   map[string]*external
	limits     map[groupName]*groupLimit

	inbox   *inbox.Inbox // nil: nobody has one, or there are several nodes, of which the one that leads has it
	schemas *schema.Registry
	refused map[string]*atomic.Uint64 // events without their topic's schema, by topic
}

// New checks the configuration, and reads what is stored.
func New(cfg Config) (*Bus, error) {
	if err := errors.Join(cfg.validate(), cfg.checkDir()); err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	bus := &Bus{cfg: cfg, limits: groupLimits(cfg.Topics), natsLog: newNATSLog(cfg.Log.With("part", "nats"))}
	open := broker.Open
	if cfg.Cluster != nil {
		open = broker.Elsewhere // until it leads
		bus.toLeader = &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, TLSClientConfig: cfg.Cluster.TLS, TLSHandshakeTimeout: handshakePatience}
	}
	bus.external = bus.externals()
	queues, err := open(bus.brokerConfig())
	if err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	bus.broker.Store(queues)
	err = errors.Join(bus.openSchemas(), bus.openInbox())
	if err == nil && cfg.Cluster == nil {
		err = bus.openSagas(nil)
	}
	if err != nil {
		bus.Close()
		return nil, fmt.Errorf("bus: %w", err)
	}
	return bus, nil
}

func (b *Bus) brokerConfig() broker.Config {
	queues := map[string]broker.QueueConfig{}
	for name, q := range b.cfg.Queues {
		queues[name] = q.QueueConfig
	}
	cfg := broker.Config{Dir: filepath.Join(b.cfg.Dir, "queues"), Queues: queues, MaxMessage: b.cfg.MaxMessage, Log: b.cfg.Log}
	if b.cfg.Cluster != nil {
		cfg.Replicated, cfg.SegmentBytes = true, journalRoom
	}
	return cfg
}

// Broker is what holds the queues. That of a node that does not lead holds nothing, and is closed.
func (b *Bus) Broker() *broker.Broker { return b.broker.Load() }

// Listen opens both addresses and makes the topics. On failure everything is closed, and the Bus is of no more use.
func (b *Bus) Listen() error {
	err := b.listen()
	if err != nil {
		b.Close()
		return fmt.Errorf("bus: %w", err)
	}
	return nil
}

func (b *Bus) listen() (err error) {
	if b.http, err = net.Listen("tcp", b.cfg.HTTP); err != nil {
		return fmt.Errorf("opening the HTTP address: %w", err)
	}
	if c := b.cfg.Cluster; c != nil && c.TLS != nil {
		b.http = tlsOrPlain{b.http, c.TLS}
	}
	if b.nats, b.leaf, err = startServer(b.cfg, b.natsLog); err != nil {
		return err
	}
	if err := b.mapQueues(); err != nil {
		return err
	}
	if b.cfg.Cluster == nil {
		if b.front, err = openFront(b, b.Broker()); err != nil {
			return err
		}
	}
	if b.conn, err = nats.Connect("", nats.InProcessServer(b.nats), nats.Name("banyan topics"), nats.MaxReconnects(-1), nats.Token(b.leaf.password)); err != nil {
		return fmt.Errorf("connecting to the NATS server: %w", err)
	}
	if b.js, err = jetstream.New(b.conn); err != nil {
		return err
	}
	if b.cfg.Cluster != nil {
		return nil // the node that leads makes the topics
	}
	return b.makeTopics(context.Background())
}

// Close lets go of everything, for a Bus that does not Run.
func (b *Bus) Close() {
	b.closeSagas()
	for _, e := range b.external {
		e.close()
	}
	if b.conn != nil {
		b.conn.Close()
	}
	if b.front != nil {
		b.front.close()
	}
	if b.toLeader != nil {
		b.toLeader.CloseIdleConnections()
	}
	if b.nats != nil {
		b.nats.Shutdown()
		b.nats.WaitForShutdown()
		b.natsLog.tell()
	}
	if b.http != nil {
		b.http.Close()
	}
	if b.inbox != nil {
		if err := b.inbox.Close(); err != nil {
			b.cfg.Log.Error("closing the inboxes", "error", err)
		}
	}
	if err := b.Broker().Close(); err != nil {
		b.cfg.Log.Error("closing the queues", "error", err)
	}
}

// Run serves until ctx ends; then it takes no more messages, writes what it has, and returns when all is closed.
func (b *Bus) Run(ctx context.Context) error {
	defer b.Close()
	web := &http.Server{
		Handler: b.handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(b.cfg.Log.Handler(), slog.LevelDebug),
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := web.Serve(netutil.LimitListener(b.http, b.cfg.MaxClients)); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	if b.cfg.Cluster != nil {
		group.Go(func() error { b.campaign(ctx); return nil })
		group.Go(func() error { b.hurryElections(ctx); return nil })
	} else {
		group.Go(func() error { return b.serve(ctx, b.front) })
		if s := b.sagas.Load(); s != nil {
			group.Go(func() error { return s.run(ctx) })
		}
	}
	group.Go(func() error { b.mindRoom(ctx); return nil })
	group.Go(func() error { b.natsLog.run(ctx); return nil })
	for _, e := range b.external {
		if t := b.cfg.Topics[e.name]; t.Engine == engineKafka || len(t.Push) > 0 {
			group.Go(func() error { e.reach(ctx); return nil })
		}
	}
	group.Go(func() error {
		<-ctx.Done()
		// Requests see the end of their context, and answer.
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err := web.Shutdown(closing)
		if errors.Is(err, context.DeadlineExceeded) {
			err = web.Close()
		}
		return err
	})
	return group.Wait()
}

// serve serves NATS clients and pushes, until ctx ends or the front can't go on.
func (b *Bus) serve(ctx context.Context, front *natsFront) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { front.mind(ctx); return nil })
	for _, p := range b.pushers() {
		if p.to.Inbox > 0 && b.cfg.Cluster != nil {
			continue // keepPushingOnce has it
		}
		p.inbox = b.inbox
		group.Go(func() error { p.run(ctx); return nil })
	}
	for name, t := range b.cfg.Topics {
		if t.From != nil {
			group.Go(func() error { (&outbox{bus: b, topic: name, from: t.From}).run(ctx); return nil })
		}
	}
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-front.ended:
			return errors.New("the queues can't connect to the NATS server any more")
		}
	})
	return group.Wait()
}

// NATSURL and HTTPURL are where clients reach it.
func (b *Bus) NATSURL() string { return "nats://" + b.nats.Addr().String() }

// Secret that signs what is pushed.
func (b *Bus) Secret() []byte { return b.cfg.Secret }

// HTTPURL is where HTTP clients reach it.
func (b *Bus) HTTPURL() string { return "http://" + b.http.Addr().String() }

// ownConnections are those in memory, of queues and of topics, which the server counts among its clients.
const ownConnections = 2

// leaf is where the queues join the server, and by which password, which is the token of this process's other connections as well.
type leaf struct{ address, password string }

const leafUser = "queues"

// greetPatience is how long a client may take to say who it is.
const greetPatience = 10 * time.Second

// startServer starts the embedded NATS server.
func startServer(cfg Config, log *natsLog) (*server.Server, leaf, error) {
	host, port, err := net.SplitHostPort(cfg.NATS)
	if err != nil {
		return nil, leaf{}, fmt.Errorf("the NATS address: %w", err)
	}
	n, err := net.LookupPort("tcp", port)
	if err != nil {
		return nil, leaf{}, fmt.Errorf("the NATS address: %w", err)
	}
	if n == 0 {
		n = server.RANDOM_PORT
	}
	joining := leaf{password: rand.Text()}
	options := &server.Options{
		ServerName: "banyan", Host: host, Port: n, NoSigs: true, NoLog: true, JetStream: true, StoreDir: topicsDir(cfg.Dir),
		SyncAlways: cfg.syncAlways(), SyncInterval: broker.SyncEvery, MaxPayload: int32(cfg.MaxMessage), MaxConn: cfg.MaxClients + ownConnections,
		MaxSubs: 20000, AuthTimeout: greetPatience.Seconds(), WriteDeadline: 10 * time.Second, DisableShortFirstPing: true,
		LeafNode: server.LeafNodeOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT, Username: leafUser, Password: joining.password, NoAdvertise: true,
			Compression: server.CompressionOpts{Mode: server.CompressionOff}},
	}
	newNATSAccess(cfg, joining.password).control(options)
	cfg.Cluster.join(options)
	s, err := server.NewServer(options)
	if err != nil {
		return nil, leaf{}, fmt.Errorf("preparing the NATS server: %w", err)
	}
	s.SetLoggerV2(log, false, false, false)
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		s.Shutdown()
		return nil, leaf{}, fmt.Errorf("the NATS server does not come up on %s: is the address taken, or %s not writable?", cfg.NATS, cfg.Dir)
	}
	info, err := s.Varz(nil)
	if err != nil {
		s.Shutdown()
		return nil, leaf{}, fmt.Errorf("asking the NATS server where it listens: %w", err)
	}
	joining.address = net.JoinHostPort("127.0.0.1", strconv.Itoa(info.LeafNode.Port))
	return s, joining, nil
}

// topicsDir is the folder of the embedded server's streams.
func topicsDir(dir string) string { return filepath.Join(dir, "topics") }

// syncAlways reports whether events must be on disk before they are acknowledged: one setting for all streams.
func (c Config) syncAlways() bool {
	if c.Cluster != nil {
		return true
	}
	relaxed := false
	for _, t := range c.Topics {
		if !t.external() && t.Durability != broker.Relaxed {
			return true
		}
		relaxed = relaxed || !t.external()
	}
	return !relaxed
}

// apiPrefix is where requests of JetStream's API arrive that are about queues.
const apiPrefix = "_BUS.JS."

// mapQueues has the requests of JetStream's API that name a queue come to us rather than to JetStream. The subjects of messages
// come first, so that they are found first.
func (b *Bus) mapQueues() error {
	account := b.nats.GlobalAccount()
	pairs := [][2]string{{"queues.>", "queues.>"}, {"$JS.ACK.>", "$JS.ACK.>"}, {"_INBOX.>", "_INBOX.>"}}
	for _, t := range b.embeddedTopics() {
		pairs = append(pairs, b.topicMaps(t)...)
	}
	pairs = append(pairs, [2]string{"topics.>", "topics.>"}, [2]string{"$JS.API.STREAM.NAMES", apiPrefix + "STREAM.NAMES"})
	for _, q := range b.queueNames() {
		for _, m := range [][2]string{
			{"STREAM.*." + q, "STREAM.$1." + q},
			{"STREAM.MSG.*." + q, "STREAM.MSG.$1." + q},
			{"CONSUMER.*." + q, "CONSUMER.$1." + q},
			{"CONSUMER.*." + q + ".*", "CONSUMER.$1." + q + ".$2"},
			{"CONSUMER.*." + q + ".*.>", "CONSUMER.$1." + q + ".$2.>"},
			{"CONSUMER.MSG.NEXT." + q + ".*", "CONSUMER.MSG.NEXT." + q + ".$1"},
			{"CONSUMER.DURABLE.CREATE." + q + ".*", "CONSUMER.DURABLE.CREATE." + q + ".$1"},
			{"DIRECT.GET." + q, "DIRECT.GET." + q},
		} {
			pairs = append(pairs, [2]string{"$JS.API." + m[0], apiPrefix + m[1]})
		}
	}
	for _, m := range pairs {
		if err := account.AddMapping(m[0], m[1]); err != nil {
			return fmt.Errorf("mapping %s: %w", m[0], err)
		}
	}
	return nil
}

func (b *Bus) queueNames() []string {
	names := make([]string, 0, len(b.cfg.Queues))
	for name := range b.cfg.Queues {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// splitSubject returns the name and the key that stand in queues.NAME.KEY.
func splitSubject(subject string) (name, key string) {
	_, rest, _ := strings.Cut(subject, ".")
	name, key, _ = strings.Cut(rest, ".")
	return name, key
}
