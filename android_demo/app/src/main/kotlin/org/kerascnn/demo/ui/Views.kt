package org.kerascnn.demo.ui

import android.app.Activity
import android.content.Context
import android.view.View

// What the layouts and the system surely have. Not all versions of Android's classes say so.

fun <T : View> Activity.part(id: Int): T = checkNotNull(findViewById<T>(id))

fun <T : View> View.part(id: Int): T = checkNotNull(findViewById<T>(id))

inline fun <reified T : Any> Context.service(): T = checkNotNull(getSystemService(T::class.java))
