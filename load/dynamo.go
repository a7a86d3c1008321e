package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/banyanhq/banyan/topology"
)

// dynamoCall is an action of DynamoDB and its input.
type dynamoCall struct {
	action string
	input  template
}

var _ call = (*dynamoCall)(nil)

var actionPattern = regexp.MustCompile(`^[A-Z][A-Za-z]{1,60}$`)

func (c *compiler) compileDynamo(s *topology.Step, sc *scope) (*dynamoCall, error) {
	if !actionPattern.MatchString(s.DynamoDB) {
		return nil, fmt.Errorf("dynamodb: action %q: want one such as GetItem", s.DynamoDB)
	}
	out := &dynamoCall{action: s.DynamoDB, input: template{{literal: "{}"}}}
	if s.JSON != nil || s.Body != "" {
		var err error
		if out.input, err = c.payload(s, sc); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *dynamoCall) build(dst []byte, v *values) ([]byte, bool) { return c.input.append(dst, v) }

// dynamoDial is how long making a connection may take.
const dynamoDial = 30 * time.Second

// dynamo is the AWS SDK's client for one target, which its callers share.
type dynamo struct {
	client    *dynamodb.Client
	transport *http.Transport
}

// newDynamo makes the client. Region and credentials are those of the environment (AWS_REGION, AWS_ACCESS_KEY_ID,
// AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN), or stand-ins that a local table server takes. The SDK does not repeat a
// failed call here: each is counted once.
func newDynamo(t *target) (*dynamo, error) {
	env := func(name, otherwise string) string {
		if v := os.Getenv(name); v != "" {
			return v
		}
		return otherwise
	}
	d := &dynamo{transport: &http.Transport{MaxIdleConnsPerHost: t.pool.limit, DisableCompression: true}}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		// The transport dials apart from the request that asked for it, which may have ended by then.
		return t.to.connect(ctx, time.Now().Add(dynamoDial))
	}
	scheme := "http"
	if t.to.tls != nil {
		scheme, d.transport.DialTLSContext = "https", dial
	} else {
		d.transport.DialContext = dial
	}
	d.client = dynamodb.New(dynamodb.Options{
		Region:           env("AWS_REGION", "us-east-1"),
		BaseEndpoint:     aws.String(scheme + "://" + t.host),
		Credentials:      credentials.NewStaticCredentialsProvider(env("AWS_ACCESS_KEY_ID", "local"), env("AWS_SECRET_ACCESS_KEY", "local"), os.Getenv("AWS_SESSION_TOKEN")),
		HTTPClient:       &http.Client{Transport: wholeRequests{d.transport}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Retryer:          aws.NopRetryer{},
		RetryMaxAttempts: 1,
	})
	return d, nil
}

func (d *dynamo) close() { d.transport.CloseIdleConnections() }

// wholeRequests sends requests whose body is read beforehand. The SDK closes a body as soon as the answer's head is
// there; the transport may then still be looking for the body's end, takes the closed one for a failure, and breaks off
// an answer that was good.
type wholeRequests struct{ transport *http.Transport }

// RoundTrip implements http.RoundTripper.
func (w wholeRequests) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body == nil {
		return w.transport.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	_ = req.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("reading the request's body: %w", err)
	}
	own := *req
	own.Body = io.NopCloser(bytes.NewReader(body))
	return w.transport.RoundTrip(&own)
}

// dynamoCaller calls by the SDK's client.
type dynamoCaller struct{ target *target }

func (c *dynamoCaller) close() {}

// do sends the action through the SDK's pipeline (its endpoint, signature and transport), with the input as the file has
// it: the operation that carries it is ListTables, whose serialized body and target header are replaced.
func (c *dynamoCaller) do(ctx context.Context, x *exchange) error {
	x.connected, x.reconnects, x.bytesIn, x.body, x.head = 0, 0, 0, x.body[:0], head{}
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if !info.Reused {
			x.connected++
		}
	}})
	limit := c.target.to.maxBody
	_, err := c.target.rest.(*dynamo).client.ListTables(ctx, &dynamodb.ListTablesInput{}, func(o *dynamodb.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return errors.Join(
				stack.Serialize.Add(replaceInput{x.call.(*dynamoCall).action, x.request}, middleware.After),
				stack.Deserialize.Add(keepOutput{x, limit}, middleware.After))
		})
	})
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return dynamoError(err, x.head.status)
}

// replaceInput puts an action and its input in the place of the operation's.
type replaceInput struct {
	action string
	input  []byte
}

func (replaceInput) ID() string { return "BanyanInput" }

// HandleSerialize implements middleware.SerializeMiddleware.
func (m replaceInput) HandleSerialize(ctx context.Context, in middleware.SerializeInput, next middleware.SerializeHandler) (middleware.SerializeOutput, middleware.Metadata, error) {
	req, ok := in.Request.(*smithyhttp.Request)
	if !ok {
		return middleware.SerializeOutput{}, middleware.Metadata{}, fmt.Errorf("a request of type %T", in.Request)
	}
	req.Header.Set("X-Amz-Target", "DynamoDB_20120810."+m.action)
	req, err := req.SetStream(bytes.NewReader(m.input))
	if err != nil {
		return middleware.SerializeOutput{}, middleware.Metadata{}, err
	}
	in.Request = req
	return next.HandleSerialize(ctx, in)
}

// keepOutput reads the answer for x, and leaves an empty one to the operation where it is good.
type keepOutput struct {
	x     *exchange
	limit int64
}

func (keepOutput) ID() string { return "BanyanOutput" }

// HandleDeserialize implements middleware.DeserializeMiddleware.
func (m keepOutput) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleDeserialize(ctx, in)
	if err != nil {
		return out, metadata, err
	}
	resp, ok := out.RawResponse.(*smithyhttp.Response)
	if !ok {
		return out, metadata, fmt.Errorf("an answer of type %T", out.RawResponse)
	}
	m.x.head.status = resp.StatusCode
	if resp.StatusCode >= 300 {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxCapture), resp.Body}
		return out, metadata, nil
	}
	capture := m.x.capture
	m.x.capture = true
	err = readBody(m.x, resp.Body, m.limit)
	resp.Body.Close()
	if m.x.capture = capture; err == nil && m.x.bytesIn <= maxCapture && !json.Valid(m.x.body) {
		err = malformed("it is not JSON: %.60q", m.x.body)
	}
	if !capture {
		m.x.body = m.x.body[:0]
	}
	resp.Body = io.NopCloser(bytes.NewReader([]byte("{}")))
	return out, metadata, err
}

// dynamoCodes are the errors that are counted under a name of their own.
var dynamoCodes = map[string]bool{"ConditionalCheckFailedException": true, "ProvisionedThroughputExceededException": true,
	"ThrottlingException": true, "RequestLimitExceeded": true, "ResourceNotFoundException": true, "ResourceInUseException": true,
	"ValidationException": true, "TransactionCanceledException": true, "TransactionConflictException": true,
	"TransactionInProgressException": true, "ItemCollectionSizeLimitExceededException": true, "IdempotentParameterMismatchException": true,
	"InternalServerError": true, "ServiceUnavailable": true, "AccessDeniedException": true, "UnrecognizedClientException": true,
	"MissingAuthenticationTokenException": true, "IncompleteSignatureException": true, "InvalidSignatureException": true,
	"LimitExceededException": true, "SerializationException": true, "UnknownOperationException": true, "DuplicateItemException": true}

// dynamoError names what the SDK says of a failed call, to which an answer with that status came; 0: none.
func dynamoError(err error, status int) error {
	var api smithy.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &api):
		code := api.ErrorCode()
		if !dynamoCodes[code] {
			code = dynamoOther
		}
		return &failed{Kind("dynamodb " + code), api.ErrorMessage()}
	case status >= 300: // an answer, though not one of DynamoDB's
		return &failed{Kind("dynamodb " + dynamoOther), fmt.Sprintf("status %d: %v", status, err)}
	}
	// net/http has no types for these. It closes a connection whose answer breaks off, and may still be writing to it.
	switch text := err.Error(); {
	case strings.Contains(text, "malformed"):
		return malformed("%s", text)
	case strings.Contains(text, "EOF"), strings.Contains(text, "server closed idle connection"), errors.Is(err, net.ErrClosed):
		return io.ErrUnexpectedEOF
	}
	return err
}

const dynamoOther = "other error"
