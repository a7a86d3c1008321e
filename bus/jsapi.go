package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/banyanhq/banyan/bus/broker"
)

// errUnsupported refuses what JetStream has and queues do not.
var errUnsupported = errors.New("not supported by queues")

// api answers requests of JetStream's API that are about queues.
func (f *natsFront) api(in inbound) {
	tokens := strings.Split(strings.TrimPrefix(in.subject, apiPrefix), ".")
	rest := tokens[min(2, len(tokens)):]
	switch verb := strings.Join(tokens[:min(2, len(tokens))], "."); {
	case verb == "STREAM.NAMES":
		f.streamNames(in)
	case verb == "STREAM.INFO" && len(rest) == 1:
		f.streamInfo(in, rest[0])
	case verb == "CONSUMER.INFO" && len(rest) == 2:
		f.consumerInfo(in, rest[0], rest[1])
	case verb == "CONSUMER.MSG" && len(rest) == 3 && rest[0] == "NEXT":
		f.next(in, rest[1], rest[2])
	case verb == "CONSUMER.CREATE" && len(rest) >= 1:
		f.consumerCreate(in, rest[0], slices.Concat(rest[1:], []string{""})[0])
	case verb == "CONSUMER.DURABLE" && len(rest) == 3:
		f.consumerCreate(in, rest[1], rest[2])
	case verb == "CONSUMER.DELETE" && len(rest) == 2:
		f.answer(in.reply, server.JSApiConsumerDeleteResponse{ApiResponse: server.ApiResponse{Type: server.JSApiConsumerDeleteResponseType}, Success: true})
	case verb == "CONSUMER.NAMES":
		f.answer(in.reply, server.JSApiConsumerNamesResponse{ApiResponse: server.ApiResponse{Type: server.JSApiConsumerNamesResponseType}, Consumers: []string{}})
	case verb == "CONSUMER.LIST":
		f.answer(in.reply, server.JSApiConsumerListResponse{ApiResponse: server.ApiResponse{Type: server.JSApiConsumerListResponseType}, Consumers: []*server.ConsumerInfo{}})
	default:
		f.refuse(in, fmt.Errorf("%w: %s; the configuration declares queues, and 'banyan queue' looks after them", errUnsupported, verb))
	}
}

func (f *natsFront) refuse(in inbound, err error) {
	f.answer(in.reply, server.ApiResponse{Type: "io.nats.jetstream.api.v1.error", Error: apiError(err)})
}

// streamNames lists queues and streams, of which one subject may be asked for: clients find the stream of a subject so.
func (f *natsFront) streamNames(in inbound) {
	var ask server.JSApiStreamNamesRequest
	_ = json.Unmarshal(in.body, &ask) // nothing is asked for in particular
	names := []string{}
	for _, q := range f.bus.queueNames() {
		if matches(ask.Subject, "queues."+q) {
			names = append(names, q)
		}
	}
	if f.bus.cfg.Cluster != nil {
		go func() { f.answerNames(in, ask, append(names, f.bus.namesOfCluster(ask.Subject)...)) }() // it asks other nodes
		return
	}
	if info, err := f.bus.nats.JszAccount(&server.JSzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Streams: true, Config: true}); err == nil {
		for _, s := range info.Streams {
			if ask.Subject == "" || s.Config != nil && slices.ContainsFunc(s.Config.Subjects, func(own string) bool { return server.SubjectsCollide(own, ask.Subject) }) {
				names = append(names, s.Name)
			}
		}
	}
	f.answerNames(in, ask, names)
}

func (f *natsFront) answerNames(in inbound, ask server.JSApiStreamNamesRequest, names []string) {
	slices.Sort(names)
	total := len(names)
	names = names[min(max(ask.Offset, 0), total):]
	names = names[:min(len(names), server.JSApiNamesLimit)]
	f.answer(in.reply, server.JSApiStreamNamesResponse{ApiResponse: server.ApiResponse{Type: server.JSApiStreamNamesResponseType},
		ApiPaged: server.ApiPaged{Total: total, Offset: ask.Offset, Limit: server.JSApiNamesLimit}, Streams: names})
}

// matches reports whether a subject that is asked for meets those of a queue.
func matches(asked, own string) bool {
	return asked == "" || server.SubjectsCollide(asked, own) || server.SubjectsCollide(asked, own+".>")
}

func (f *natsFront) streamInfo(in inbound, queue string) {
	s, err := f.broker.QueueStatus(queue)
	if err != nil {
		f.refuse(in, err)
		return
	}
	held := s.Ready + s.Delayed + s.InFlight + s.Dead
	f.answer(in.reply, server.JSApiStreamInfoResponse{ApiResponse: server.ApiResponse{Type: server.JSApiStreamInfoResponseType}, StreamInfo: &server.StreamInfo{
		Created: f.begun, TimeStamp: time.Now(),
		Config: server.StreamConfig{Name: queue, Description: "a queue of Banyan; " + s.Label, Subjects: []string{"queues." + queue, "queues." + queue + ".>"},
			Retention: server.WorkQueuePolicy, Discard: server.DiscardNew, Storage: server.FileStorage, Replicas: f.bus.cfg.Cluster.replicas(), MaxConsumers: -1,
			MaxMsgs: unbounded(int64(s.Rules.MaxMessages)), MaxBytes: unbounded(s.Rules.MaxBytes), MaxAge: s.Rules.TTL, MaxMsgsPer: -1,
			MaxMsgSize: int32(f.bus.cfg.MaxMessage), Duplicates: s.Rules.Dedupe},
		State: server.StreamState{Msgs: uint64(held), Bytes: uint64(s.Bytes), LastSeq: s.NextSeq - 1},
	}})
}

func unbounded(n int64) int64 {
	if n <= 0 {
		return -1
	}
	return n
}

func (f *natsFront) describe(s broker.Status, consumer string) *server.ConsumerInfo {
	return &server.ConsumerInfo{
		Stream: s.Name, Name: consumer, Created: f.begun, TimeStamp: time.Now(),
		Config: &server.ConsumerConfig{Durable: consumer, Name: consumer, AckPolicy: server.AckExplicit, AckWait: s.Rules.AckWait,
			MaxDeliver: s.Rules.MaxDeliver, DeliverPolicy: server.DeliverAll, ReplayPolicy: server.ReplayInstant, MaxWaiting: maxPulls, MaxAckPending: -1},
		NumAckPending: s.InFlight, NumPending: uint64(s.Ready), NumWaiting: s.Pulls, NumRedelivered: int(s.Redelivered),
	}
}

func (f *natsFront) consumerInfo(in inbound, queue, consumer string) {
	s, err := f.broker.QueueStatus(queue)
	if err != nil {
		f.refuse(in, err)
		return
	}
	f.answer(in.reply, server.JSApiConsumerInfoResponse{ApiResponse: server.ApiResponse{Type: server.JSApiConsumerInfoResponseType}, ConsumerInfo: f.describe(s, consumer)})
}

// consumerCreate agrees to a consumer that asks for nothing that the queue does not do.
func (f *natsFront) consumerCreate(in inbound, queue, name string) {
	var ask server.CreateConsumerRequest
	err := json.Unmarshal(in.body, &ask)
	if err != nil {
		err = fmt.Errorf("%w: %w", broker.ErrInvalid, err)
	}
	s, found := f.broker.QueueStatus(queue)
	for _, e := range []error{err, found, agree(s, ask.Config)} {
		if e != nil {
			f.refuse(in, e)
			return
		}
	}
	for _, n := range []string{ask.Config.Name, ask.Config.Durable, "anyone"} {
		if name == "" {
			name = n
		}
	}
	f.answer(in.reply, server.JSApiConsumerCreateResponse{ApiResponse: server.ApiResponse{Type: server.JSApiConsumerCreateResponseType}, ConsumerInfo: f.describe(s, name)})
}

// agree compares what a consumer asks for with what the queue does for all.
func agree(s broker.Status, c server.ConsumerConfig) error {
	own := func(subject string) bool {
		return subject == "" || subject == "queues."+s.Name || subject == "queues."+s.Name+".>" || subject == ">"
	}
	for _, no := range []struct {
		asked bool
		what  string
	}{
		{c.DeliverSubject != "", "push consumers: pull, or have 'push' of the queue post to a service"},
		{c.AckPolicy != server.AckExplicit, "other acknowledgements than explicit ones"},
		{!own(c.FilterSubject) || slices.ContainsFunc(c.FilterSubjects, func(s string) bool { return !own(s) }), "filters: every consumer of a queue may get any of its messages"},
		{c.AckWait > 0 && c.AckWait != s.Rules.AckWait, fmt.Sprintf("an ack wait of its own (%s): that of the queue is %s", c.AckWait, s.Rules.AckWait)},
		{c.MaxDeliver > 0 && c.MaxDeliver != s.Rules.MaxDeliver, fmt.Sprintf("a number of deliveries of its own (%d): that of the queue is %d", c.MaxDeliver, s.Rules.MaxDeliver)},
		{len(c.BackOff) > 0, "a back-off of its own: the queue has one"},
		{c.DeliverPolicy != server.DeliverAll, "another beginning than the first message"},
	} {
		if no.asked {
			return fmt.Errorf("%w: %s", errUnsupported, no.what)
		}
	}
	return nil
}
