package kafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/internal/loopback"
	"github.com/banyanhq/banyan/topology"
)

func cluster(t *testing.T, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func open(t *testing.T, c *kfake.Cluster, partitions int) *Topic {
	t.Helper()
	topic, err := Open(limited(t), Config{URL: topology.KafkaURL{Brokers: c.ListenAddrs(), Topic: "news"}, Partitions: partitions})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(topic.Close)
	return topic
}

func join(t *testing.T, topic *Topic) *Group {
	t.Helper()
	g, err := topic.Join("mail")
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func publish(t *testing.T, topic *Topic, key, body string) int32 {
	t.Helper()
	e := Event{Body: []byte(body)}
	if key != "" {
		e.Key = []byte(key)
	}
	partition, _, err := topic.Publish(limited(t), e)
	if err != nil {
		t.Fatal(err)
	}
	return partition
}

func take(t *testing.T, g *Group, n int) (all []Delivery) {
	t.Helper()
	for ctx := limited(t); len(all) < n && ctx.Err() == nil; {
		got, err := g.Take(ctx, n-len(all), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, got...)
	}
	if len(all) != n {
		t.Fatalf("got %d of %d", len(all), n)
	}
	return all
}

func ack(t *testing.T, g *Group, d Delivery) {
	t.Helper()
	commit, err := g.Ack(d.Partition, d.Offset, d.Attempt)
	if err == nil {
		err = commit.Wait(limited(t))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The partition of a key is the one of the Java client: the hashes are those of the tests of Kafka's own murmur2.
func TestKeysGoWhereTheJavaClientPutsThem(t *testing.T) {
	topic := open(t, cluster(t), 7)
	for key, hash := range map[string]int32{"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107} {
		if got, want := publish(t, topic, key, "x"), (hash&0x7fffffff)%7; got != want {
			t.Errorf("%s is in partition %d, want %d", key, got, want)
		}
	}
}

// A topic that is not there is made, once; one that is there is taken as it is.
func TestTopicsAreMade(t *testing.T) {
	c := cluster(t)
	if topic := open(t, c, 5); topic.Partitions() != 5 {
		t.Error(topic.Partitions())
	}
	if topic := open(t, c, 3); topic.Partitions() != 5 {
		t.Error(topic.Partitions())
	}
}

// The offset of a group stays before what is not settled; who takes over begins there, and loses nothing.
func TestOffsetsFollowWhatIsSettled(t *testing.T) {
	topic := open(t, cluster(t), 1)
	for i := range 5 {
		publish(t, topic, "", fmt.Sprint(i))
	}
	first := join(t, topic)
	got := take(t, first, 5)
	ack(t, first, got[0])
	ack(t, first, got[2])
	if _, err := first.Ack(0, got[2].Offset, 1); !errors.Is(err, ErrSettled) {
		t.Error(err)
	}
	first.Close()
	if _, err := first.Ack(0, got[1].Offset, 1); !errors.Is(err, ErrSettled) {
		t.Error(err)
	}
	second := join(t, topic)
	defer second.Close()
	var bodies []string
	for _, d := range take(t, second, 4) {
		bodies = append(bodies, string(d.Body))
		ack(t, second, d)
	}
	if fmt.Sprint(bodies) != "[1 2 3 4]" {
		t.Errorf("%v: the first has settled 0 and 2 only", bodies)
	}
	if s, err := topic.Status(limited(t)); err != nil || s.Lag["mail"] != 0 || s.Events() != 5 {
		t.Errorf("%+v, %v", s, err)
	}
}

// Members that come and go share the partitions: each event is settled by one of them at least, and the group's offsets end behind the last.
func TestMembersShareAGroup(t *testing.T) {
	topic := open(t, cluster(t), 4)
	const events = 200
	go func() {
		for i := range events {
			topic.Publish(context.WithoutCancel(t.Context()), Event{Key: fmt.Append(nil, "k", i%17), Body: fmt.Append(nil, i)})
		}
	}()
	seen := make(chan string, 10*events)
	ctx, cancel := context.WithCancel(limited(t))
	member := func(most int) {
		g, err := topic.Join("mail")
		if err != nil {
			t.Error(err)
			return
		}
		defer g.Close()
		for n := 0; n < most && ctx.Err() == nil; {
			got, err := g.Take(ctx, 5, time.Minute)
			if err != nil {
				t.Error(err)
				return
			}
			for _, d := range got {
				n++
				if _, err := g.Ack(d.Partition, d.Offset, d.Attempt); err == nil { // otherwise another member has it now
					seen <- string(d.Body)
				}
			}
		}
	}
	left := make(chan struct{}, 2)
	go func() { member(30); member(events * 10); left <- struct{}{} }()
	go func() { member(events * 10); left <- struct{}{} }()
	distinct := map[string]bool{}
	for len(distinct) < events && ctx.Err() == nil {
		select {
		case body := <-seen:
			distinct[body] = true
		case <-ctx.Done():
		}
	}
	cancel()
	<-left
	<-left
	if len(distinct) != events {
		t.Fatalf("%d of %d events", len(distinct), events)
	}
	if s, err := topic.Status(limited(t)); err != nil || s.Lag["mail"] != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

// What a transaction that was given up has written is seen by nobody.
func TestTransactionsThatWereGivenUp(t *testing.T) {
	c := cluster(t)
	topic := open(t, c, 1)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.TransactionalID("t"), kgo.DefaultProduceTopic("news"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, end := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(limited(t), kgo.StringRecord(fmt.Sprint("committed: ", end))).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(limited(t), end); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, topic, "", "plain")
	r, err := topic.Replay(limited(t), Start{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := r.Fetch(limited(t), 10, 0)
	if err != nil || len(got) != 2 || string(got[0].Body) != "committed: true" || string(got[1].Body) != "plain" {
		t.Errorf("%+v, %v", got, err)
	}
	g := join(t, topic)
	defer g.Close()
	if d := take(t, g, 2); string(d[0].Body) != "committed: true" {
		t.Errorf("%+v", d)
	}
}

// A place in several partitions is kept in text, and read from again.
func TestReplayOfPartitions(t *testing.T) {
	topic := open(t, cluster(t), 3)
	for i := range 9 {
		publish(t, topic, fmt.Sprint("k", i), fmt.Sprint(i))
	}
	var bodies []string
	place := Position{}
	for range 3 {
		r, err := topic.Replay(limited(t), Start{At: place})
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Fetch(limited(t), 3, 0)
		if err != nil || len(got) != 3 {
			t.Fatal(got, err)
		}
		for _, e := range got {
			bodies = append(bodies, string(e.Body))
		}
		if place, err = ParsePosition(r.Position().String()); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	if slices.Sort(bodies); fmt.Sprint(bodies) != "[0 1 2 3 4 5 6 7 8]" {
		t.Error(bodies)
	}
	if _, err := topic.Replay(limited(t), Start{At: Position{7: 0}}); !errors.Is(err, ErrPosition) {
		t.Error(err)
	}
}

// Errors of the brokers are told apart, and what may have been stored is said to.
func TestWhatBrokersRefuse(t *testing.T) {
	c := cluster(t, kfake.NumBrokers(1))
	topic := open(t, c, 1)
	for _, want := range []struct {
		code int16
		err  error
	}{{kerr.MessageTooLarge.Code, ErrTooLarge}, {kerr.TopicAuthorizationFailed.Code, kerr.TopicAuthorizationFailed}} {
		c.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
			ask := request.(*kmsg.ProduceRequest)
			answer := ask.ResponseKind().(*kmsg.ProduceResponse)
			for _, t := range ask.Topics {
				out := kmsg.NewProduceResponseTopic()
				out.Topic, out.TopicID = t.Topic, t.TopicID
				for _, p := range t.Partitions {
					part := kmsg.NewProduceResponseTopicPartition()
					part.Partition, part.ErrorCode = p.Partition, want.code
					out.Partitions = append(out.Partitions, part)
				}
				answer.Topics = append(answer.Topics, out)
			}
			return answer, nil, true
		})
		if _, _, err := topic.Publish(limited(t), Event{Body: []byte("x")}); !errors.Is(err, want.err) {
			t.Errorf("%v, want %v", err, want.err)
		}
	}
	if _, _, err := topic.Publish(limited(t), Event{Body: make([]byte, 2<<20)}); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := topic.Publish(ctx, Event{Body: []byte("x")}); !errors.Is(err, ErrUnsure) {
		t.Error(err)
	}
	publish(t, topic, "", "and it goes on")
}

// TLS and SASL by the URL; a wrong password is said, and not what it was.
func TestSecureClusters(t *testing.T) {
	certificate, file := selfSigned(t)
	c := cluster(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{certificate}}), kfake.EnableSASL(),
		kfake.Superuser("PLAIN", "me", "s3cret"), kfake.Superuser("SCRAM-SHA-256", "me", "s3cret"), kfake.Superuser("SCRAM-SHA-512", "me", "s3cret"))
	for _, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		u := topology.KafkaURL{Brokers: c.ListenAddrs(), Topic: "news", TLS: true, CA: file, SASL: mechanism, User: "me", Password: "s3cret"}
		topic, err := Open(limited(t), Config{URL: u})
		if err != nil {
			t.Fatal(mechanism, err)
		}
		publish(t, topic, "", "x")
		topic.Close()
		u.Password = "wr0ng"
		if _, err := Open(limited(t), Config{URL: u}); err == nil || strings.Contains(err.Error(), "wr0ng") || !strings.Contains(strings.ToLower(err.Error()), "auth") {
			t.Errorf("%s: %v", mechanism, err)
		}
		u.CA = ""
		if _, err := Open(limited(t), Config{URL: u}); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: %v", mechanism, err)
		}
	}
}

// selfSigned makes a certificate of this machine, and a file with it.
func selfSigned(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

func TestNobodyIsThere(t *testing.T) {
	l, err := net.Listen("tcp", loopback.Any())
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	if _, err := Open(limited(t), Config{URL: topology.KafkaURL{Brokers: []string{address}, Topic: "news"}}); err == nil || !strings.Contains(err.Error(), "refused") || !strings.Contains(err.Error(), address) {
		t.Error(err)
	}
}

func TestHeaders(t *testing.T) {
	in := []broker.Header{{Name: "ce-id", Value: "caf%c3%a9%"}, {Name: "Ce-Source", Value: "/a"}, {Name: "x-other", Value: "100%25"}}
	records := recordHeaders(in)
	if fmt.Sprintf("%s", records) != `[{ce_id café%} {ce_source /a} {x-other 100%25}]` {
		t.Errorf("%s", records)
	}
	if out := requestHeaders(records); fmt.Sprint(out) != "[{ce-id caf%C3%A9%25} {ce-source /a} {x-other 100%25}]" {
		t.Error(out)
	}
}
