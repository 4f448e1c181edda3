"""TFLite files: conversion, quantisation and edits through LiteRT's schema."""
