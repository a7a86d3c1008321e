package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// tables asks tables behind the DynamoDB API for items by 'id', in as few words as there can be.
type tables struct {
	endpoint string
	client   *http.Client
}

// maxItem is how large an item may be, as in the API.
const maxItem = 400_000

// item of a table.
type item map[string]map[string]string

// get reads an item, whether it is there or not.
func (t *tables) get(ctx context.Context, table, key string) error {
	return t.do(ctx, "GetItem", map[string]any{"TableName": table, "Key": item{"id": {"S": key}}, "ConsistentRead": true})
}

// put writes an item of about so many bytes.
func (t *tables) put(ctx context.Context, table, key string, size int) error {
	return t.do(ctx, "PutItem", map[string]any{"TableName": table, "Item": item{"id": {"S": key}, "data": {"S": strings.Repeat("x", max(size, 1))}}})
}

func (t *tables) do(ctx context.Context, operation string, in any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	answer, err := t.client.Do(r)
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 2*maxItem))
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %d %.200s", operation, answer.StatusCode, text)
	}
	return nil
}
