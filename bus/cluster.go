package bus

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/bus/journal"
	"github.com/banyanhq/banyan/bus/streamlog"
)

// Cluster has a Bus be one of several nodes, that keep queues and topics together: each message is on the disks of most of three
// nodes before it is acknowledged. One node leads, and serves the queues; clients may talk to any.
type Cluster struct {
	// Node is the number of this one, from 1.
	Node uint64
	// Peers are where the nodes reach each other, by number, this one too: host:port. There are at least 3, all the same on
	// each.
	Peers map[uint64]string
	// Secret that the nodes know each other by; at least 16 bytes, or none with TLS.
	Secret []byte
	// TLS between nodes (transport.Certificates). Default: in the clear.
	TLS *tls.Config
}

const (
	// clusterReplicas is how many nodes have each message.
	clusterReplicas = 3
	// maxPeers bounds the nodes of a cluster.
	maxPeers = 9
	// queuesStream has the journal of the queues, and queuesSubject is where that is written to. The names of queues and
	// topics are of lower case letters.
	queuesStream  = "BANYAN_QUEUES"
	queuesSubject = "_BUS.LOG"
	// sagasStream has the journal of the sagas, and sagasSubject is where that is written to.
	sagasStream  = "BANYAN_SAGAS"
	sagasSubject = "_BUS.SAGAS"
	// inboxStream has the journal of the inboxes, and inboxSubject is where that is written to.
	inboxStream  = "BANYAN_INBOX"
	inboxSubject = "_BUS.INBOX"
	// sagaRoom bounds a record of the journal of the sagas: all that is known of one run.
	sagaRoom = 8 << 20
	// leaderSubject is where the node that leads says its HTTP address.
	leaderSubject = "_BUS.LEADER"
	// journalRoom is by how much a record of the journal may be larger than its message: a dead letter has its history.
	journalRoom = 1 << 20
	// leadEvery is how often a node looks whether it leads.
	leadEvery = 100 * time.Millisecond
	// leadAgain is how long a node that could not lead waits before it tries again.
	leadAgain = 500 * time.Millisecond
	// handshakePatience bounds how long two nodes may take to agree on keys.
	handshakePatience = 10 * time.Second
	// makeEvery is how often it is tried to make the journal's stream.
	makeEvery = time.Second
)

// replicas is how many nodes have each event of a topic.
func (c *Cluster) replicas() int {
	if c == nil {
		return 1
	}
	return clusterReplicas
}

// topicMessage bounds an event where the server itself takes larger messages, of the journal; 0: as the server does.
func (c *Cluster) topicMessage(most int) int32 {
	if c == nil {
		return 0
	}
	return int32(most)
}

// join has a server be a node of the cluster.
func (c *Cluster) join(o *server.Options) {
	if c == nil {
		return
	}
	host, port, _ := net.SplitHostPort(c.Peers[c.Node]) // was checked
	n, _ := strconv.Atoi(port)
	sum := sha256.Sum256(c.Secret)
	user, password := "node", hex.EncodeToString(sum[:])
	o.ServerName = nodeName(c.Node)
	o.MaxPayload = max(o.MaxPayload+journalRoom, sagaRoom)
	o.Cluster = server.ClusterOpts{Name: "banyan", Host: host, Port: n, Username: user, Password: password,
		Compression: server.CompressionOpts{Mode: server.CompressionOff}, TLSConfig: c.TLS, TLSTimeout: handshakePatience.Seconds()}
	for _, node := range slices.Sorted(maps.Keys(c.Peers)) {
		if node != c.Node {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", User: url.UserPassword(user, password), Host: c.Peers[node]})
		}
	}
}

func nodeName(n uint64) string { return "node-" + strconv.FormatUint(n, 10) }

// validateCluster refuses what several nodes can't do.
func (c *Config) validateCluster() error {
	if c.Cluster == nil {
		return nil
	}
	if n := len(c.Cluster.Peers); n < clusterReplicas || n > maxPeers {
		return fmt.Errorf("%d nodes: expected %d to %d, of which each message is on %d", n, clusterReplicas, maxPeers, clusterReplicas)
	}
	if c.Cluster.Peers[c.Cluster.Node] == "" {
		return fmt.Errorf("node %d is not among those of the cluster", c.Cluster.Node)
	}
	for n, address := range c.Cluster.Peers {
		_, port, err := net.SplitHostPort(address)
		if number, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || number == 0 {
			return fmt.Errorf("node %d: %q: expected HOST:PORT", n, address)
		}
	}
	if n := len(c.Cluster.Secret); n < 16 && (n > 0 || c.Cluster.TLS == nil) {
		return errors.New("the nodes know each other by a secret of at least 16 bytes")
	}
	return nil
}

// checkDir refuses a folder whose messages would not be found.
func (c *Config) checkDir() error {
	switch {
	case c.Cluster != nil && exists(c.Dir, "queues"):
		return fmt.Errorf("%s has the queues of a bus that stood alone, which several nodes do not take over: empty them first, or begin in another folder", c.Dir)
	case c.Cluster == nil && exists(c.Dir, "topics", "jetstream", server.DEFAULT_GLOBAL_ACCOUNT, "streams", queuesStream):
		return fmt.Errorf("%s is of one of several nodes, whose queues a bus that stands alone does not take over: empty them first, or begin in another folder", c.Dir)
	}
	return nil
}

func exists(parts ...string) bool {
	_, err := os.Stat(filepath.Join(parts...))
	return err == nil
}

// signed is an address with what shows that a node of the cluster says it.
func (c *Cluster) signed(address string) []byte {
	sum := hmac.New(sha256.New, c.Secret)
	sum.Write([]byte(address))
	return fmt.Appendf(nil, "%s %x", address, sum.Sum(nil))
}

// campaign serves the queues whenever this node leads, until ctx ends.
func (b *Bus) campaign(ctx context.Context) {
	tick := time.NewTicker(leadEvery)
	defer tick.Stop()
	var tried time.Time
	for {
		if !b.nats.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, queuesStream) {
			if now := time.Now(); b.nats.JetStreamIsLeader() && now.Sub(tried) > makeEvery {
				tried = now
				if err := b.makeJournal(ctx, queuesStream, queuesSubject); err != nil && ctx.Err() == nil {
					b.cfg.Log.Debug("making the journal of the queues", "error", err)
				}
			}
		} else if err := b.lead(ctx); err != nil && ctx.Err() == nil {
			b.cfg.Log.Warn("this node leads the queues no more", "because", err)
			if !errors.Is(err, errNotLeading) {
				pause(ctx, leadAgain)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// makeJournal makes the stream of a journal, where it is not there.
func (b *Bus) makeJournal(ctx context.Context, stream, subject string) error {
	ctx, cancel := context.WithTimeout(ctx, topicCall)
	defer cancel()
	_, err := b.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: stream, Description: "a journal of Banyan", Subjects: []string{subject}, Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: clusterReplicas, AllowDirect: true, DenyDelete: true,
	})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil
	}
	return err
}

// errNotLeading is why a term ends in good order.
var errNotLeading = errors.New("another node leads")

// lead serves the queues for as long as this node leads.
func (b *Bus) lead(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var log *streamlog.Log
	cfg := b.brokerConfig()
	cfg.OpenLog = func(replay func(journal.Position, []byte) error) (_ broker.Log, err error) {
		log, err = streamlog.Open(ctx, b.js, streamlog.Options{Stream: queuesStream, Subject: queuesSubject, MaxFrame: b.cfg.MaxMessage + journalRoom}, replay)
		return log, err
	}
	begun := time.Now()
	queues, err := broker.Open(cfg)
	if err != nil {
		return err
	}
	defer queues.Close() // what it could not write, nobody was told of
	front, err := openFront(b, queues)
	if err != nil {
		return err
	}
	defer front.close()
	found, err := b.conn.Subscribe(leaderSubject, func(m *nats.Msg) {
		_ = m.Respond(b.cfg.Cluster.signed(b.reachedAt())) // who hears nothing asks again
	})
	if err != nil {
		return err
	}
	defer found.Unsubscribe() // fails only with the connection
	idle := b.broker.Swap(queues)
	defer b.broker.Store(idle)
	b.cfg.Log.Info("this node leads the queues", "node", b.cfg.Cluster.Node, "after", time.Since(begun).Round(time.Millisecond))
	var group errgroup.Group
	group.Go(func() error { end(b.watchTerm(ctx, log)); return nil })
	// The queues do not wait for topics, sagas and inboxes: other nodes may still have to be found that lead their streams.
	group.Go(func() error { b.keepMakingTopics(ctx); return nil })
	group.Go(func() error { b.keepRunningSagas(ctx); return nil })
	group.Go(func() error { b.keepPushingOnce(ctx); return nil })
	group.Go(func() error {
		err := b.serve(ctx, front)
		end(err)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// keepMakingTopics makes the topics, or brings them up to date, however long that takes.
func (b *Bus) keepMakingTopics(ctx context.Context) {
	for {
		err := b.makeTopics(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		b.cfg.Log.Warn("the topics can't be made yet", "error", err)
		pause(ctx, makeEvery)
	}
}

// watchTerm returns when this node should lead no more.
func (b *Bus) watchTerm(ctx context.Context, log *streamlog.Log) error {
	tick := time.NewTicker(leadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-log.Failed():
			return streamlog.ErrFailed
		case <-tick.C:
			if !b.nats.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, queuesStream) {
				return errNotLeading
			}
		}
	}
}

// reachedAt is the HTTP address of this node as the other nodes find it.
func (b *Bus) reachedAt() string {
	host, port, _ := net.SplitHostPort(b.http.Addr().String())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host, _, _ = net.SplitHostPort(b.cfg.Cluster.Peers[b.cfg.Cluster.Node])
	}
	return b.cfg.Cluster.scheme() + "://" + net.JoinHostPort(host, port)
}

// scheme is how nodes pass requests on.
func (c *Cluster) scheme() string {
	if c.TLS != nil {
		return "https"
	}
	return "http"
}

// namesOfCluster are the streams that JetStream has on any node, but for the journals; those of a subject, or all.
func (b *Bus) namesOfCluster(subject string) (names []string) {
	ctx, cancel := context.WithTimeout(context.Background(), topicCall)
	defer cancel()
	list := b.js.ListStreams(ctx)
	for info := range list.Info() {
		own := func(s string) bool { return server.SubjectsCollide(s, subject) }
		if !slices.Contains(internalStreams, info.Config.Name) && (subject == "" || slices.ContainsFunc(info.Config.Subjects, own)) {
			names = append(names, info.Config.Name)
		}
	}
	return names
}
