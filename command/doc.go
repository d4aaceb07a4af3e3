// Package command describes the Redis commands that work on keys, and the
// batches in which they travel to the owner of these.
package command
