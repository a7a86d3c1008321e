package dynamo

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/banyanhq/banyan/store/expr"
	"github.com/banyanhq/banyan/store/shard"
	"github.com/banyanhq/banyan/store/wire"
)

// Error is an answer that is an error, as DynamoDB's clients know them.
type Error struct {
	// Code such as ValidationException.
	Code    string
	Message string
	// Item of a ConditionalCheckFailedException, encoded, if it was asked for.
	Item []byte
	// Reasons of a TransactionCanceledException, one for each item in order.
	Reasons []Reason
}

// Reason that one item of a transaction gives for its end.
type Reason struct {
	Code, Message string
	Item          []byte
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Namespaces of error codes; those of DynamoDB itself are the others.
var namespaces = map[string]string{
	"ValidationException":                 "com.amazon.coral.validate#",
	"SerializationException":              "com.amazon.coral.service#",
	"UnknownOperationException":           "com.amazon.coral.service#",
	"UnrecognizedClientException":         "com.amazon.coral.service#",
	"MissingAuthenticationTokenException": "com.amazon.coral.service#",
	"IncompleteSignatureException":        "com.amazon.coral.service#",
	"InvalidSignatureException":           "com.amazon.coral.service#",
	"ServiceUnavailableException":         "com.amazon.coral.availability#",
	"RequestEntityTooLargeException":      "com.amazon.coral.service#",
}

// status is the HTTP status that goes with a code.
func (e *Error) status() int {
	switch e.Code {
	case "InternalServerError":
		return http.StatusInternalServerError
	case "ServiceUnavailableException":
		return http.StatusServiceUnavailable
	case "RequestEntityTooLargeException":
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}

func (e *Error) append(out []byte) []byte {
	space, ok := namespaces[e.Code]
	if !ok {
		space = "com.amazonaws.dynamodb.v20120810#"
	}
	out = append(out, `{"__type":`...)
	out = wire.AppendString(out, space+e.Code)
	if e.Reasons != nil {
		out = appendReasons(append(out, `,"CancellationReasons":[`...), e.Reasons)
		out = append(out, ']')
	}
	if e.Item != nil {
		out = append(out, `,"Item":`...)
		out, _ = wire.AppendEncoded(out, e.Item) // it was decoded just before
	}
	name := `,"message":`
	if strings.HasSuffix(space, "service#") || e.Reasons != nil {
		name = `,"Message":`
	}
	if e.Message != "" {
		out = wire.AppendSafe(append(out, name...), e.Message)
	}
	return append(out, '}')
}

func appendReasons(out []byte, reasons []Reason) []byte {
	for i, r := range reasons {
		if i > 0 {
			out = append(out, ',')
		}
		out = wire.AppendString(append(out, `{"Code":`...), r.Code)
		if r.Item != nil {
			out, _ = wire.AppendEncoded(append(out, `,"Item":`...), r.Item)
		}
		if r.Message != "" {
			out = wire.AppendSafe(append(out, `,"Message":`...), r.Message)
		}
		out = append(out, '}')
	}
	return out
}

func invalidf(format string, a ...any) error {
	return &Error{Code: "ValidationException", Message: fmt.Sprintf(format, a...)}
}

// wrongf is invalidf behind the words that most of DynamoDB's messages begin with.
func wrongf(format string, a ...any) error {
	return invalidf("One or more parameter values were invalid: "+format, a...)
}

var errNoTable = &Error{Code: "ResourceNotFoundException", Message: "Requested resource not found"}

func noTable(name string) error {
	return &Error{Code: "ResourceNotFoundException", Message: "Requested resource not found: Table: " + name + " not found"}
}

// asError makes the answer of any error; ok is false for one that is not the client's and is to be logged.
func (a *API) asError(err error) (e *Error, ok bool) {
	var value *wire.ValueError
	var syntax *wire.SyntaxError
	var expression *expr.Error
	switch {
	case errors.As(err, &e):
		return e, true
	case errors.As(err, &value):
		return &Error{Code: "ValidationException", Message: value.Message}, true
	case errors.As(err, &syntax):
		return &Error{Code: "SerializationException", Message: syntax.Message}, true
	case errors.As(err, &expression):
		return &Error{Code: "ValidationException", Message: expression.Message}, true
	case a.cfg.Unavailable != nil && a.cfg.Unavailable(err):
		return &Error{Code: "ServiceUnavailableException", Message: "Service is unable to process your request"}, true
	case a.cfg.Overloaded != nil && a.cfg.Overloaded(err):
		return &Error{Code: "ThrottlingException", Message: "Too many writes are waiting; try again"}, true
	}
	return &Error{Code: "InternalServerError", Message: "The request processing has failed because of an unknown error, exception or failure."}, false
}

// failed is the error of a command as a whole, nil if it was carried out.
func failed(res *shard.Result, table string) error {
	switch res.Code {
	case shard.OK:
		return nil
	case shard.NoTable:
		return noTable(table)
	case shard.Conflict:
		return &Error{Code: "TransactionConflictException", Message: res.Message}
	case shard.Stale, shard.Exists:
		return &Error{Code: "ResourceInUseException", Message: "Attempt to change a resource which is still in use: Table is being updated: " + table}
	case shard.Mismatch:
		return &Error{Code: "IdempotentParameterMismatchException", Message: "Request rejected because parameters do not match those of the initial request"}
	case shard.Invalid:
		return &Error{Code: "ValidationException", Message: res.Message}
	}
	return fmt.Errorf("a command answered with code %d", res.Code)
}
