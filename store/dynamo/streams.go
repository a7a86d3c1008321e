package dynamo

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/store/shard"
	"github.com/banyanhq/banyan/store/wire"
)

// A stream of a table that is not spread has one shard, from its beginning to its end. One of a table that is spread has a shard for
// each bucket, likewise: groups that are split or merged change no shard.

// iterators makes and reads shard iterators: the stream, the next sequence number and when it was made, signed so that none can be
// made up, and the shard. The key lives as long as the process, and DynamoDB's iterators 15 minutes.
type iterators struct{ key [32]byte }

const iteratorAge = 15 * 60 * 1000

func (s *iterators) init() { rand.Read(s.key[:]) } // never fails

func (s *iterators) make(stream uint64, h shard.Home, next uint64, now int64) string {
	b := binary.BigEndian.AppendUint64(nil, stream)
	b = binary.BigEndian.AppendUint16(b, uint16(h))
	b = binary.BigEndian.AppendUint64(b, next)
	b = binary.BigEndian.AppendUint64(b, uint64(now))
	return base64.StdEncoding.EncodeToString(append(b, s.sign(b)...))
}

func (s *iterators) sign(b []byte) []byte {
	h := hmac.New(sha256.New, s.key[:])
	h.Write(b)
	return h.Sum(nil)[:16]
}

func (s *iterators) read(text string, now int64) (stream uint64, h shard.Home, next uint64, err error) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != 42 || !hmac.Equal(s.sign(b[:26]), b[26:]) {
		return 0, 0, 0, invalidf("Invalid ShardIterator")
	}
	if now-int64(binary.BigEndian.Uint64(b[18:])) > iteratorAge {
		return 0, 0, 0, &Error{Code: "ExpiredIteratorException", Message: "Iterator expired. Iterators expire 15 minutes after they are made"}
	}
	return binary.BigEndian.Uint64(b), shard.Home(binary.BigEndian.Uint16(b[8:])), binary.BigEndian.Uint64(b[10:]), nil
}

// sequence is a sequence number as clients see it: they want at least 21 digits.
func sequence(n uint64) string { return fmt.Sprintf("1%020d", n) }

func parseSequence(s string) (uint64, bool) {
	rest, ok := strings.CutPrefix(s, "1")
	if !ok || len(rest) != 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(rest, 10, 64)
	return n, err == nil
}

func shardID(s *shard.Stream, h shard.Home) string {
	id := fmt.Sprintf("shardId-%020d-%08x", s.Created, s.ID)
	if h != 0 {
		id += fmt.Sprintf("-%02d", h-1)
	}
	return id
}

// stream finds a stream by its ARN.
func (a *API) stream(arn *string) (*shard.Table, *shard.Stream, error) {
	var c constraints
	c.notNull(arn != nil, "streamArn")
	if err := c.err(); err != nil {
		return nil, nil, err
	}
	if t := a.store.Table(tableName(*arn)); t != nil {
		for i := range t.Streams {
			if a.streamARN(t, &t.Streams[i]) == *arn {
				return t, &t.Streams[i], nil
			}
		}
	}
	return nil, nil, &Error{Code: "ResourceNotFoundException", Message: "Requested resource not found: Stream: " + *arn + " not found"}
}

func (a *API) listStreams(_ context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	var in struct {
		TableName, ExclusiveStartStreamArn *string
		Limit                              *int64
	}
	if err := decodeInto(r, &in); err != nil {
		return out, err
	}
	var c constraints
	limit := number{100, true}
	if in.Limit != nil {
		limit.n = *in.Limit
	}
	c.atLeast(limit, "limit", 1)
	c.atMost(limit, "limit", 100)
	if err := c.err(); err != nil {
		return out, err
	}
	type found struct{ arn, table, label string }
	var all []found
	for _, t := range a.store.Tables() {
		for i := range t.Streams {
			arn := a.streamARN(t, &t.Streams[i])
			if (in.TableName == nil || tableName(*in.TableName) == t.Name) && arn > value(in.ExclusiveStartStreamArn) {
				all = append(all, found{arn, t.Name, t.Streams[i].Label})
			}
		}
	}
	slices.SortFunc(all, func(x, y found) int { return strings.Compare(x.arn, y.arn) })
	last := ""
	if int64(len(all)) > limit.n {
		all = all[:limit.n]
		last = all[len(all)-1].arn
	}
	out = append(out, `{"Streams":[`...)
	for i, s := range all {
		if i > 0 {
			out = append(out, ',')
		}
		out = wire.AppendString(append(out, `{"StreamArn":`...), s.arn)
		out = wire.AppendString(append(out, `,"TableName":`...), s.table)
		out = append(wire.AppendString(append(out, `,"StreamLabel":`...), s.label), '}')
	}
	out = append(out, ']')
	if last != "" {
		out = wire.AppendString(append(out, `,"LastEvaluatedStreamArn":`...), last)
	}
	return append(out, '}'), nil
}

func (a *API) describeStream(ctx context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	var in struct {
		StreamArn, ExclusiveStartShardId *string
		Limit                            *int64
	}
	if err := decodeInto(r, &in); err != nil {
		return out, err
	}
	t, s, err := a.stream(in.StreamArn)
	if err != nil {
		return out, err
	}
	status := "ENABLED"
	if s.Ended != 0 {
		status = "DISABLED"
	}
	out = wire.AppendString(append(out, `{"StreamDescription":{"StreamArn":`...), *in.StreamArn)
	out = wire.AppendString(append(out, `,"StreamLabel":`...), s.Label)
	out = wire.AppendString(append(out, `,"StreamStatus":`...), status)
	out = wire.AppendString(append(out, `,"StreamViewType":`...), s.View)
	out = wire.AppendString(append(out, `,"TableName":`...), t.Name)
	out = append(out, `,"CreationRequestDateTime":`...)
	out = strconv.AppendFloat(out, float64(s.Created)/1000, 'f', 3, 64)
	out = append(out, `,"KeySchema":[`...)
	for i, k := range keySchema(t.Key) {
		if i > 0 {
			out = append(out, ',')
		}
		out = wire.AppendString(append(out, `{"AttributeName":`...), k.AttributeName)
		out = append(wire.AppendString(append(out, `,"KeyType":`...), k.KeyType), '}')
	}
	limit := int64(100)
	if in.Limit != nil {
		limit = *in.Limit
	}
	last := ""
	out = append(out, `],"Shards":[`...)
	for _, h := range t.Homes() {
		id := shardID(s, h)
		if id <= value(in.ExclusiveStartShardId) {
			continue
		}
		if limit--; limit < 0 {
			out = append(wire.AppendString(append(out, `],"LastEvaluatedShardId":`...), last), `}}`...)
			return out, nil
		}
		if last != "" {
			out = append(out, ',')
		}
		last = id
		if out, err = a.appendShard(ctx, s, h, out); err != nil {
			return out, err
		}
	}
	return append(out, `]}}`...), nil
}

func (a *API) appendShard(ctx context.Context, s *shard.Stream, h shard.Home, out []byte) ([]byte, error) {
	out = wire.AppendString(append(out, `{"ShardId":`...), shardID(s, h))
	out = wire.AppendString(append(out, `,"SequenceNumberRange":{"StartingSequenceNumber":`...), sequence(0))
	if s.Ended != 0 {
		db, err := a.store.Read(ctx, h.Key(), nil, true)
		if err != nil {
			return out, err
		}
		last, err := shard.LastChange(db, h, s.ID)
		if err != nil {
			return out, err
		}
		out = wire.AppendString(append(out, `,"EndingSequenceNumber":`...), sequence(last))
	}
	return append(out, `}}`...), nil
}

func (a *API) getShardIterator(ctx context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	var in struct{ StreamArn, ShardId, ShardIteratorType, SequenceNumber *string }
	if err := decodeInto(r, &in); err != nil {
		return out, err
	}
	var c constraints
	c.notNull(in.ShardId != nil, "shardId")
	c.notNull(in.ShardIteratorType != nil, "shardIteratorType")
	c.enum(asText(in.ShardIteratorType), "shardIteratorType", "[AFTER_SEQUENCE_NUMBER, LATEST, AT_SEQUENCE_NUMBER, TRIM_HORIZON]")
	if err := c.err(); err != nil {
		return out, err
	}
	t, s, err := a.stream(in.StreamArn)
	if err != nil {
		return out, err
	}
	homes := t.Homes()
	at := slices.IndexFunc(homes, func(h shard.Home) bool { return shardID(s, h) == *in.ShardId })
	if at < 0 {
		return out, &Error{Code: "ResourceNotFoundException", Message: "Requested resource not found: Shard: " + *in.ShardId + " does not exist"}
	}
	next := uint64(0)
	switch kind := *in.ShardIteratorType; kind {
	case "LATEST":
		db, err := a.store.Read(ctx, homes[at].Key(), nil, true)
		if err != nil {
			return out, err
		}
		if next, err = shard.LastChange(db, homes[at], s.ID); err != nil {
			return out, err
		}
		next++
	case "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER":
		n, ok := parseSequence(value(in.SequenceNumber))
		if !ok {
			return out, invalidf("Invalid SequenceNumber")
		}
		if next = n; kind == "AFTER_SEQUENCE_NUMBER" && next < math.MaxUint64 {
			next++
		}
	}
	out = wire.AppendString(append(out, `{"ShardIterator":`...), a.iterators.make(s.ID, homes[at], next, a.store.Now()))
	return append(out, '}'), nil
}

func (a *API) getRecords(ctx context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	var in struct {
		ShardIterator *string
		Limit         *int64
	}
	if err := decodeInto(r, &in); err != nil {
		return out, err
	}
	var c constraints
	limit := number{1000, true}
	if in.Limit != nil {
		limit.n = *in.Limit
	}
	c.notNull(in.ShardIterator != nil, "shardIterator")
	c.atLeast(limit, "limit", 1)
	c.atMost(limit, "limit", 1000)
	if err := c.err(); err != nil {
		return out, err
	}
	id, h, next, err := a.iterators.read(*in.ShardIterator, a.store.Now())
	if err != nil {
		return out, err
	}
	s := a.streamByID(id)
	if s == nil {
		return out, &Error{Code: "ResourceNotFoundException", Message: "Requested resource not found: Stream not found"}
	}
	db, err := a.store.Read(ctx, h.Key(), nil, true)
	if err != nil {
		return out, err
	}
	changes, err := shard.ChangesAt(db, h, id, next, int(limit.n), shard.MaxPage)
	if err == nil && len(changes) > 0 {
		err = a.store.Durable(ctx, nil)
	}
	if err != nil {
		return out, err
	}
	out = append(out, `{"Records":[`...)
	for i, change := range changes {
		if i > 0 {
			out = append(out, ',')
		}
		if out, err = a.appendRecord(out, &change, s.View); err != nil {
			return out, err
		}
		next = change.Sequence + 1
	}
	out = append(out, ']')
	if s.Ended == 0 || int64(len(changes)) == limit.n {
		out = wire.AppendString(append(out, `,"NextShardIterator":`...), a.iterators.make(id, h, next, a.store.Now()))
	}
	return append(out, '}'), nil
}

func (a *API) streamByID(id uint64) *shard.Stream {
	for _, t := range a.store.Tables() {
		for i := range t.Streams {
			if t.Streams[i].ID == id {
				return &t.Streams[i]
			}
		}
	}
	return nil
}

func (a *API) appendRecord(out []byte, c *shard.Change, view string) (_ []byte, err error) {
	n := sequence(c.Sequence)
	digest := sha256.Sum256([]byte(n))
	out = wire.AppendString(append(out, `{"eventID":`...), fmt.Sprintf("%x", digest[:16]))
	out = wire.AppendString(append(out, `,"eventName":`...), c.Name)
	out = append(out, `,"eventVersion":"1.1","eventSource":"aws:dynamodb","awsRegion":`...)
	out = wire.AppendString(out, a.cfg.Region)
	if c.Expired {
		out = append(out, `,"userIdentity":{"PrincipalId":"dynamodb.amazonaws.com","Type":"Service"}`...)
	}
	out = append(out, `,"dynamodb":{"ApproximateCreationDateTime":`...)
	out = strconv.AppendInt(out, c.Instant/1000, 10)
	for _, image := range []struct {
		name string
		item []byte
	}{{"Keys", c.Key}, {"NewImage", c.New}, {"OldImage", c.Old}} {
		if len(image.item) > 0 {
			if out, err = wire.AppendEncoded(append(out, `,"`+image.name+`":`...), image.item); err != nil {
				return out, err
			}
		}
	}
	out = wire.AppendString(append(out, `,"SequenceNumber":`...), n)
	out = strconv.AppendInt(append(out, `,"SizeBytes":`...), int64(c.Size), 10)
	out = wire.AppendString(append(out, `,"StreamViewType":`...), view)
	return append(out, `}}`...), nil
}
