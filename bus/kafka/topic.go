package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/topology"
)

var (
	// ErrTooLarge refuses an event that is larger than the cluster takes.
	ErrTooLarge = errors.New("the event is larger than Kafka takes")
	// ErrBusy refuses an event while too many wait to be stored.
	ErrBusy = errors.New("too many events wait for Kafka")
	// ErrUnsure says that an event may be stored or not.
	ErrUnsure = errors.New("no word from Kafka whether the event is stored: it may be")
)

// Config of a Topic.
type Config struct {
	// URL of the cluster. Its Topic must be set, and its Password, if there is a user.
	URL topology.KafkaURL
	// Partitions of the topic, if it is not there yet. Default 1.
	Partitions int
	// MaxEvent bounds an event with its headers. Default 1 MiB.
	MaxEvent int
	// Log of what operators should know. Default: none.
	Log *slog.Logger
}

// Event of a topic.
type Event struct {
	Partition int32
	Offset    int64
	Time      time.Time
	// Key has the order; nil: none.
	Key     []byte
	Headers []broker.Header
	Body    []byte
}

const (
	// batchRoom is for what Kafka adds to an event.
	batchRoom = 16 << 10
	// publishPatience is how long an event is tried to be stored.
	publishPatience = 10 * time.Second
	// maxBuffered bounds the events that wait to be stored.
	maxBuffered = 10000
)

// Topic of a Kafka cluster.
type Topic struct {
	cfg        Config
	name       string
	partitions int
	client     *kgo.Client
	admin      *kadm.Client
}

// Open connects to the cluster, and makes the topic if it is not there.
func Open(ctx context.Context, cfg Config) (*Topic, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxEvent <= 0 {
		cfg.MaxEvent = 1 << 20
	}
	t := &Topic{cfg: cfg, name: cfg.URL.Topic}
	client, err := t.connect(kgo.DefaultProduceTopic(t.name), kgo.ProducerBatchMaxBytes(int32(cfg.MaxEvent+batchRoom)), kgo.ProducerBatchCompression(compression(cfg.URL)...),
		kgo.RecordDeliveryTimeout(publishPatience), kgo.AllowIdempotentProduceCancellation(), kgo.MaxBufferedRecords(maxBuffered), kgo.ProducerLinger(0)) // what comes while a request is under way shares the next
	if err != nil {
		return nil, err
	}
	t.client, t.admin = client, kadm.NewClient(client)
	if err := client.Ping(ctx); err != nil {
		client.Close()
		if errors.Is(err, io.EOF) { // brokers don't say why
			err = fmt.Errorf("it hangs up: is authentication right (sasl, user, password), and whether there is TLS (kafka+ssl://)? %w", err)
		}
		return nil, fmt.Errorf("talking to Kafka at %s: %w", strings.Join(cfg.URL.Brokers, ","), err)
	}
	if err := t.find(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("looking for the topic %s at Kafka: %w", t.name, err)
	}
	return t, nil
}

// Close ends it; what is being published fails. Groups and Readers are closed before.
func (t *Topic) Close() { t.client.Close() }

// Partitions is how many it had when it was opened.
func (t *Topic) Partitions() int { return t.partitions }

// Name that Kafka knows it by.
func (t *Topic) Name() string { return t.name }

// find looks how many partitions the topic has, and makes it if need be.
func (t *Topic) find(ctx context.Context) error {
	found, err := t.admin.ListTopics(ctx, t.name)
	if err != nil {
		return err
	}
	detail := found[t.name]
	switch {
	case errors.Is(detail.Err, kerr.UnknownTopicOrPartition):
		t.partitions = max(t.cfg.Partitions, 1)
		const asTheClusterSays = -1
		if _, err := t.admin.CreateTopic(ctx, int32(t.partitions), asTheClusterSays, nil, t.name); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("it is not there, and can't be made: %w", err)
		}
		t.cfg.Log.Info("a topic was made at Kafka", "topic", t.name, "partitions", t.partitions)
		return nil
	case detail.Err != nil:
		return detail.Err
	}
	if t.partitions = len(detail.Partitions); t.partitions != t.cfg.Partitions && t.cfg.Partitions > 0 {
		t.cfg.Log.Warn("the file gives a topic other partitions than Kafka has: plans and simulations go by the file", "topic", t.name, "file", t.cfg.Partitions, "kafka", t.partitions)
	}
	return nil
}

// connect makes a client of the cluster. It does not talk to it yet.
func (t *Topic) connect(more ...kgo.Opt) (*kgo.Client, error) {
	u := t.cfg.URL
	options := []kgo.Opt{kgo.SeedBrokers(u.Brokers...), kgo.ClientID("banyan"), kgo.WithLogger(clientLog{t.cfg.Log.With("part", "kafka", "topic", t.name)}),
		kgo.DialTimeout(5 * time.Second), kgo.RetryTimeout(10 * time.Second), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxBytes(8 << 20), kgo.FetchMaxPartitionBytes(1 << 20), kgo.FetchMaxWait(time.Second), kgo.MetadataMinAge(250 * time.Millisecond)}
	if u.TLS {
		cfg, err := tlsConfig(u)
		if err != nil {
			return nil, err
		}
		options = append(options, kgo.DialTLSConfig(cfg))
	}
	switch u.SASL {
	case "plain":
		options = append(options, kgo.SASL(plain.Auth{User: u.User, Pass: u.Password}.AsMechanism()))
	case "scram-sha-256":
		options = append(options, kgo.SASL(scram.Auth{User: u.User, Pass: u.Password}.AsSha256Mechanism()))
	case "scram-sha-512":
		options = append(options, kgo.SASL(scram.Auth{User: u.User, Pass: u.Password}.AsSha512Mechanism()))
	}
	client, err := kgo.NewClient(append(options, more...)...)
	if err != nil {
		return nil, fmt.Errorf("preparing a client of Kafka: %w", err)
	}
	return client, nil
}

func compression(u topology.KafkaURL) []kgo.CompressionCodec {
	switch u.Compression {
	case "none":
		return []kgo.CompressionCodec{kgo.NoCompression()}
	case "gzip":
		return []kgo.CompressionCodec{kgo.GzipCompression()}
	case "lz4":
		return []kgo.CompressionCodec{kgo.Lz4Compression()}
	case "zstd":
		return []kgo.CompressionCodec{kgo.ZstdCompression()}
	}
	return []kgo.CompressionCodec{kgo.SnappyCompression()}
}

func tlsConfig(u topology.KafkaURL) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if u.CA != "" {
		text, err := os.ReadFile(u.CA)
		if err != nil {
			return nil, fmt.Errorf("reading who signs Kafka's certificates: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: there is no certificate in it", u.CA)
		}
	}
	if u.Cert != "" {
		pair, err := tls.LoadX509KeyPair(u.Cert, u.Key)
		if err != nil {
			return nil, fmt.Errorf("reading our certificate for Kafka: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// Publish returns when all replicas in sync have an event, with the place that it got.
func (t *Topic) Publish(ctx context.Context, e Event) (partition int32, offset int64, err error) {
	type result struct {
		record *kgo.Record
		err    error
	}
	stored := make(chan result, 1)
	record := &kgo.Record{Key: e.Key, Value: e.Body, Headers: recordHeaders(e.Headers)}
	t.client.TryProduce(ctx, record, func(r *kgo.Record, err error) { stored <- result{r, err} })
	got := <-stored // within publishPatience
	switch {
	case got.err == nil:
		return got.record.Partition, got.record.Offset, nil
	case errors.Is(got.err, kerr.MessageTooLarge), errors.Is(got.err, kerr.RecordListTooLarge):
		return 0, 0, ErrTooLarge
	case errors.Is(got.err, kgo.ErrMaxBuffered):
		return 0, 0, ErrBusy
	case errors.Is(got.err, kgo.ErrRecordTimeout), errors.Is(got.err, kgo.ErrRecordRetries), errors.Is(got.err, context.DeadlineExceeded), errors.Is(got.err, context.Canceled):
		return 0, 0, fmt.Errorf("%w: %w", ErrUnsure, got.err)
	}
	return 0, 0, fmt.Errorf("publishing to Kafka: %w", got.err)
}

// clientLog hands on what the client has to say of errors. What it does about them it also says by its results.
type clientLog struct{ to *slog.Logger }

func (l clientLog) Level() kgo.LogLevel { return kgo.LogLevelWarn }

func (l clientLog) Log(_ kgo.LogLevel, message string, pairs ...any) { l.to.Debug(message, pairs...) }
