package org.kerascnn.demo.ui

import android.content.Context
import java.io.File
import java.io.FileInputStream
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.util.zip.ZipException
import java.util.zip.ZipFile

/** A .tflite file that adb put there under its digest; nobody writes over it. */
class PushedModel(private val file: File) : ModelFile() {
    override val key = "pushed:$file"

    /** SHA-256 in hex, as the file's name has it. */
    val digest: String
        get() = file.nameWithoutExtension

    override fun name(context: Context): String = file.name

    override fun bytes(context: Context): ByteBuffer = FileInputStream(file).use { stream ->
        if (stream.channel.size() > Int.MAX_VALUE) throw IOException("more than 2048 MiB")
        stream.channel.map(FileChannel.MapMode.READ_ONLY, 0, stream.channel.size())
    }
}

/** A labelled folder that adb put there as a zip. */
class LabelledZip(private val file: File) : LabelledFiles {
    private val zip: ZipFile by lazy {
        try {
            ZipFile(file)
        } catch (broken: ZipException) {
            throw IOException(broken.message, broken)
        }
    }

    override fun all(): List<LabelledFile> = zip.entries().asSequence()
        .filter { !it.isDirectory }
        .map { entry ->
            val picture = !entry.name.endsWith(".json", ignoreCase = true)
            LabelledFile(entry.name, picture) { zip.getInputStream(entry) }
        }
        .sortedBy { it.path }
        .toList()
}
