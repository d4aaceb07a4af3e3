// Package operator asks the admin endpoints of running members, as an operator
// or a script does. Programs that test holdfast from outside use it.
package operator

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
)

// timeout is how long a question to a member's admin endpoint may take.
const timeout = time.Second

// idle is how long an unused connection is kept: less than members keep theirs.
const idle = 30 * time.Second

// Client asks one member.
type Client struct {
	client *http.Client
	base   string // http://host:port
}

// New returns a client of the member whose admin endpoint is at host:port.
func New(address string) *Client {
	return &Client{
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: idle}},
		base:   "http://" + address,
	}
}

// Close closes idle connections.
func (c *Client) Close() { c.client.CloseIdleConnections() }

func (c *Client) get(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %.300s", path, resp.Status, body)
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(body, v)
}

// Ring asks for the ring.
func (c *Client) Ring(ctx context.Context) (r adminapi.Ring, err error) {
	return r, c.get(ctx, "/admin/ring", &r)
}

// Key asks who owns and who holds a key.
func (c *Client) Key(ctx context.Context, key string) (k adminapi.Key, err error) {
	return k, c.get(ctx, "/admin/ring?key="+url.QueryEscape(key), &k)
}

// Stats asks for sessions, bytes and counters.
func (c *Client) Stats(ctx context.Context) (s adminapi.Stats, err error) {
	return s, c.get(ctx, "/admin/stats", &s)
}

// Ready returns nil when the member is ready.
func (c *Client) Ready(ctx context.Context) error { return c.get(ctx, "/readyz", nil) }

// Unready asks why the member is not ready, and returns nothing when it is.
func (c *Client) Unready(ctx context.Context) (why []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/readyz", nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var body struct {
		Why []string `json:"why"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		return nil, fmt.Errorf("GET /readyz: %w", err)
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		return nil, nil
	case resp.StatusCode == http.StatusServiceUnavailable && len(body.Why) > 0:
		return body.Why, nil
	}
	return nil, fmt.Errorf("GET /readyz: %s: %q", resp.Status, body.Why)
}

// Drain has the member hand everything over, and returns when it says that it
// has, or why it could not.
func (c *Client) Drain(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/admin/drain", nil)
	if err != nil {
		return err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // only to be shown
		return fmt.Errorf("POST /admin/drain: %s: %s", resp.Status, body)
	}
	last := "nothing"
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); last = lines.Text() {
		var line adminapi.Drain
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("POST /admin/drain: line %q: %w", lines.Text(), err)
		}
		if line.Error != "" {
			return fmt.Errorf("POST /admin/drain: %s", line.Error)
		}
		if line.Done {
			return nil
		}
	}
	return fmt.Errorf("POST /admin/drain: ended without done; the last line was %s", last)
}
