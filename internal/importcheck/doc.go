// Package importcheck holds the direction of imports between the packages of
// this module: its test lists them and refuses an import that points up, and a
// package that no rule speaks of.
package importcheck
