package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// parentEnv names the inherited file descriptor whose other end the parent
// holds open as long as it lives. "holdfast dev" sets it for its children, so
// that they end with it however it ends, on every Unix.
const parentEnv = "HOLDFAST_PARENT_FD"

var errOrphaned = errors.New("the process that started this one has ended")

// lifeOfParent returns a context that ends with [errOrphaned] when the parent
// does, if there is one to watch. The goroutine that watches the parent is the
// only one of a member that is not waited for: its read ends when the parent
// does, and both end the process.
func lifeOfParent(ctx context.Context) (context.Context, error) {
	text, ok := os.LookupEnv(parentEnv)
	if !ok {
		return ctx, nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("%s=%q: must be the number of an inherited file descriptor", parentEnv, text)
	}
	pipe := os.NewFile(uintptr(fd), "parent")
	if _, err := pipe.Stat(); err != nil {
		return nil, fmt.Errorf("%s=%q: %w", parentEnv, text, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, pipe) // ends when the last writer is gone
		cancel(errOrphaned)
	}()
	return ctx, nil
}
