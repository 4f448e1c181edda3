"""ONNX files: conversion and edits."""
