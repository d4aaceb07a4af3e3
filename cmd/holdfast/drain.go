package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
)

type drainCommand struct {
	adminFlags
	Force bool `help:"Drain although fewer nodes than copies of each session would remain. Without it the node refuses then, and stays in the ring."`
}

func (*drainCommand) Detail() string {
	return `The node at -admin leaves the ring, forwards requests from then on, and exits when other
nodes have confirmed all that it held. Nothing is lost, and no request fails; SIGTERM to the
node does the same. Interrupting this command does not stop the drain.

The last node has nobody to hand over to. With -force it leaves the ring all the same, and if it
holds anything it stays up: start another node and drain again, or end it with SIGTERM, without
its sessions.`
}

// drainType is the media type in which a node tells how a drain goes.
const drainType = "application/jsonl"

func (c *drainCommand) Run(ctx context.Context, s *streams) error {
	path := "/admin/drain"
	if c.Force {
		path += "?force=1"
	}
	resp, err := sendAdmin(ctx, http.MethodPost, c.Admin, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusAccepted || kind != drainType {
		return noMember(c.Admin, fmt.Errorf("%s with Content-Type %q to %s, not 202 with %q", resp.Status, kind, path, drainType))
	}
	if err := followDrain(resp.Body, s.out); err != nil {
		return fmt.Errorf("%s: %w", c.Admin, err)
	}
	return nil
}

// followDrain prints the progress that a draining node streams, one line for
// each change, until it says that it is done.
func followDrain(answer io.Reader, out io.Writer) error {
	lines := json.NewDecoder(answer)
	left, unsynced := -1, 0 // when last heard
	for {
		var line adminapi.Drain
		if err := lines.Decode(&line); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = errors.New("the node stopped answering")
			}
			return fmt.Errorf("drain not confirmed, %d unsynced when last heard: %w", unsynced, err)
		}
		if line.Error != "" {
			return fmt.Errorf("drain failed with unsynced=%d: %s", line.Unsynced, line.Error)
		}
		if line.Done {
			_, err := fmt.Fprintf(out, "drained, unsynced=%d\n", line.Unsynced)
			return err
		}
		now := 0
		if line.Partitions != nil {
			now = *line.Partitions
		}
		if now == left && line.Unsynced == unsynced {
			continue
		}
		left, unsynced = now, line.Unsynced
		if _, err := fmt.Fprintf(out, "draining: %s to hand over, %d unsynced\n", plural(left, "partition"), unsynced); err != nil {
			return err
		}
	}
}
