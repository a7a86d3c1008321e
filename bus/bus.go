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
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/bus/broker"
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
	// Token that clients of both addresses must give. Empty: none.
	Token string
	// MaxMessage bounds headers and body of a message. Default 1 MiB, at most 8 MiB.
	MaxMessage int
	// MaxClients bounds the connections to each address. Default 10000.
	MaxClients int
	// Secret signs what is pushed to services. At least 24 bytes where there is a Push.
	Secret []byte
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
	// Retain is how long events are kept. Default 24h.
	Retain time.Duration
	// Durability of its events. Default: durable.
	Durability broker.Durability
	Push       []Push
}

// Push has messages posted to a service.
type Push struct {
	// Name of who is pushed to; of a topic, it is a consumer group of its own.
	Name string
	// URL to post to; asked for before each delivery. Empty: there is none now.
	URL func() string
	// Concurrency is how many deliveries may be under way at once; asked for before each, 0 stops them for now. Default 1.
	Concurrency func() int
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
		if t.Durability == broker.Replicated {
			return fmt.Errorf("topic %s: durability replicated: not supported yet, for it takes several nodes; durable is what one node can do", name)
		}
		pushes += len(t.Push)
	}
	if pushes > 0 && len(c.Secret) < 24 {
		return errors.New("what is pushed must be signed: a secret of at least 24 bytes is missing")
	}
	return nil
}

// Bus is a running bus. New, Listen and Run are called in this order, once.
type Bus struct {
	cfg    Config
	broker *broker.Broker
	nats   *server.Server
	http   net.Listener
	leaf   leaf
	front  *natsFront
	ended  chan struct{} // closed when the front's connection has ended for good; nil: it never began
	conn   *nats.Conn
	js     jetstream.JetStream
}

// New checks the configuration, and reads what is stored.
func New(cfg Config) (*Bus, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	queues := map[string]broker.QueueConfig{}
	for name, q := range cfg.Queues {
		queues[name] = q.QueueConfig
	}
	b, err := broker.Open(broker.Config{Dir: filepath.Join(cfg.Dir, "queues"), Queues: queues, MaxMessage: cfg.MaxMessage, Log: cfg.Log})
	if err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	return &Bus{cfg: cfg, broker: b}, nil
}

// Broker is what holds the queues.
func (b *Bus) Broker() *broker.Broker { return b.broker }

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
	if b.nats, b.leaf, err = startServer(b.cfg); err != nil {
		return err
	}
	if err := b.mapQueues(); err != nil {
		return err
	}
	b.front = newNATSFront(b)
	if err := b.front.connect(); err != nil {
		return err
	}
	b.ended = make(chan struct{})
	go func() {
		defer close(b.ended)
		b.front.run()
	}()
	// Whoever is told the address is not to find nobody there.
	if err := b.front.wire.Load().await(30 * time.Second); err != nil {
		return err
	}
	options := []nats.Option{nats.InProcessServer(b.nats), nats.Name("banyan topics"), nats.MaxReconnects(-1)}
	if b.cfg.Token != "" {
		options = append(options, nats.Token(b.cfg.Token))
	}
	if b.conn, err = nats.Connect("", options...); err != nil {
		return fmt.Errorf("connecting to the NATS server: %w", err)
	}
	if b.js, err = jetstream.New(b.conn); err != nil {
		return err
	}
	return b.makeTopics()
}

// Close lets go of everything, for a Bus that does not Run.
func (b *Bus) Close() {
	if b.conn != nil {
		b.conn.Close()
	}
	if b.ended != nil {
		b.front.close()
		<-b.ended
	}
	if b.nats != nil {
		b.nats.Shutdown()
		b.nats.WaitForShutdown()
	}
	if b.http != nil {
		b.http.Close()
	}
	if err := b.broker.Close(); err != nil {
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
	group.Go(func() error {
		<-b.ended
		if ctx.Err() != nil {
			return nil
		}
		return errors.New("the queues can't connect to the NATS server any more")
	})
	group.Go(func() error { b.front.mind(ctx); return nil })
	for _, p := range b.pushers() {
		group.Go(func() error { p.run(ctx); return nil })
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
		b.front.close()
		return err
	})
	return group.Wait()
}

// NATSURL and HTTPURL are where clients reach it.
func (b *Bus) NATSURL() string { return "nats://" + b.nats.Addr().String() }

// Secret that signs what is pushed.
func (b *Bus) Secret() []byte { return b.cfg.Secret }

// HTTPURL is where HTTP clients reach it.
func (b *Bus) HTTPURL() string { return "http://" + b.http.Addr().String() }

// leaf is where the queues join the server, and by which password.
type leaf struct{ address, password string }

const leafUser = "queues"

// startServer starts the embedded NATS server.
func startServer(cfg Config) (*server.Server, leaf, error) {
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
	s, err := server.NewServer(&server.Options{
		ServerName: "banyan", Host: host, Port: n, NoSigs: true, NoLog: true, JetStream: true, StoreDir: filepath.Join(cfg.Dir, "topics"),
		SyncAlways: cfg.syncAlways(), SyncInterval: broker.SyncEvery, MaxPayload: int32(cfg.MaxMessage), MaxConn: cfg.MaxClients,
		MaxSubs: 20000, Authorization: cfg.Token, WriteDeadline: 10 * time.Second, DisableShortFirstPing: true,
		LeafNode: server.LeafNodeOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT, Username: leafUser, Password: joining.password, NoAdvertise: true,
			Compression: server.CompressionOpts{Mode: server.CompressionOff}},
	})
	if err != nil {
		return nil, leaf{}, fmt.Errorf("preparing the NATS server: %w", err)
	}
	s.SetLoggerV2(natsLog{cfg.Log.With("part", "nats")}, false, false, false)
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

// syncAlways reports whether events must be on disk before they are acknowledged: one setting for all streams.
func (c Config) syncAlways() bool {
	for _, t := range c.Topics {
		if t.Durability != broker.Relaxed {
			return true
		}
	}
	return len(c.Topics) == 0
}

// apiPrefix is where requests of JetStream's API arrive that are about queues.
const apiPrefix = "_BUS.JS."

// mapQueues has the requests of JetStream's API that name a queue come to us rather than to JetStream. The subjects of messages
// come first, so that they are found first.
func (b *Bus) mapQueues() error {
	account := b.nats.GlobalAccount()
	maps := [][2]string{{"queues.>", "queues.>"}, {"topics.>", "topics.>"}, {"$JS.ACK.>", "$JS.ACK.>"}, {"_INBOX.>", "_INBOX.>"}, {"$JS.API.STREAM.NAMES", apiPrefix + "STREAM.NAMES"}}
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
			maps = append(maps, [2]string{"$JS.API." + m[0], apiPrefix + m[1]})
		}
	}
	for _, m := range maps {
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

// natsLog hands the server's log on. What it notices of single clients is for debugging.
type natsLog struct{ log *slog.Logger }

func (l natsLog) Noticef(f string, v ...any) { l.log.Debug(fmt.Sprintf(f, v...)) }
func (l natsLog) Warnf(f string, v ...any)   { l.log.Warn(fmt.Sprintf(f, v...)) }
func (l natsLog) Fatalf(f string, v ...any)  { l.log.Error(fmt.Sprintf(f, v...)) }
func (l natsLog) Errorf(f string, v ...any)  { l.log.Warn(fmt.Sprintf(f, v...)) }
func (l natsLog) Debugf(f string, v ...any)  {}
func (l natsLog) Tracef(f string, v ...any)  {}

// splitSubject returns the name and the key that stand in queues.NAME.KEY.
func splitSubject(subject string) (name, key string) {
	_, rest, _ := strings.Cut(subject, ".")
	name, key, _ = strings.Cut(rest, ".")
	return name, key
}
