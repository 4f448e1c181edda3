package org.kerascnn.demo.ui

import android.util.JsonReader
import android.util.JsonToken
import java.io.IOException
import java.io.InputStream
import org.kerascnn.demo.core.TrueBox

/** Objects of a COCO .json by the file that they are in; boxes in pixels. */
class CocoTruth private constructor(
    private val categories: Map<Long, String>,
    private val files: Map<Long, String>,
    private val boxes: Map<Long, List<Box>>,
) {
    private class Box(val category: Long, val sides: DoubleArray, val crowd: Boolean)

    val names: Collection<String>
        get() = files.values

    /**
     * What is to be found in each file, by its name in the .json.
     *
     * Objects whose category is none of the labels are left out, as nothing could find them.
     */
    fun of(labels: List<String>): Map<String, List<TrueBox>> {
        val places = categories.mapValues { labels.indexOf(it.value) }
        return files.entries.associate { (image, file) ->
            file to boxes[image].orEmpty().mapNotNull { one ->
                val label = places[one.category] ?: -1
                val (x, y, width, height) = one.sides
                if (label < 0) null else TrueBox(label, x, y, width, height, one.crowd)
            }
        }
    }

    /** Whether any of its categories is one of the labels. */
    fun knows(labels: List<String>): Boolean = categories.values.any { it in labels }

    companion object {
        private const val MOST_OBJECTS = 1_000_000
        private const val MOST_NAMES = 200_000
        private const val LONGEST_FILE = 1L shl 30

        /** @throws IOException it is no such file, broken, or too large. */
        fun read(stream: InputStream): CocoTruth = try {
            Reader(JsonReader(Bounded(stream).reader())).whole()
        } catch (error: IllegalStateException) { // another kind of value
            throw IOException(error.message, error)
        } catch (error: NumberFormatException) {
            throw IOException(error.message, error)
        } catch (error: StackOverflowError) { // thousands of brackets
            throw IOException("too deep", error)
        }
    }

    /** Ends a file that does not end. */
    private class Bounded(private val stream: InputStream) : InputStream() {
        private var left = LONGEST_FILE

        override fun read(): Int = counted(stream.read(), 1)

        override fun read(target: ByteArray, offset: Int, length: Int): Int {
            val count = stream.read(target, offset, length)
            return counted(count, count)
        }

        private fun counted(read: Int, count: Int): Int {
            if (read >= 0) left -= count
            if (left < 0) throw IOException("more than ${LONGEST_FILE shr 20} MiB")
            return read
        }
    }

    /** Its parts may come in any order, and others between them. */
    private class Reader(private val json: JsonReader) {
        private val categories = mutableMapOf<Long, String>()
        private val files = mutableMapOf<Long, String>()
        private val boxes = mutableMapOf<Long, MutableList<Box>>()
        private var objects = 0

        fun whole(): CocoTruth {
            json.beginObject()
            while (json.hasNext()) {
                when (json.nextName()) {
                    "categories" -> each { name("name", categories) }
                    "images" -> each { name("file_name", files) }
                    "annotations" -> each(::annotation)
                    else -> json.skipValue()
                }
            }
            json.endObject()
            if (files.isEmpty() || categories.isEmpty()) throw IOException("no images, or no categories")
            return CocoTruth(categories, files, boxes)
        }

        private fun each(member: () -> Unit) {
            json.beginArray()
            while (json.hasNext()) member()
            json.endArray()
        }

        private fun name(field: String, into: MutableMap<Long, String>) {
            var id: Long? = null
            var name: String? = null
            json.beginObject()
            while (json.hasNext()) {
                when (json.nextName()) {
                    "id" -> id = json.nextLong()
                    field -> name = json.nextString()
                    else -> json.skipValue()
                }
            }
            json.endObject()
            into[id ?: throw IOException("no id")] = name ?: throw IOException("no $field")
            if (into.size > MOST_NAMES) throw IOException("more than $MOST_NAMES")
        }

        private fun annotation() {
            var image: Long? = null
            var category: Long? = null
            var sides: DoubleArray? = null
            var crowd = false
            json.beginObject()
            while (json.hasNext()) {
                when (json.nextName()) {
                    "image_id" -> image = json.nextLong()
                    "category_id" -> category = json.nextLong()
                    "bbox" -> sides = box()
                    "iscrowd" -> crowd = flag()
                    else -> json.skipValue()
                }
            }
            json.endObject()
            if (image == null || category == null || sides == null) throw IOException("half an annotation")
            if (++objects > MOST_OBJECTS) throw IOException("more than $MOST_OBJECTS objects")
            boxes.getOrPut(image) { mutableListOf() } += Box(category, sides, crowd)
        }

        private fun flag(): Boolean =
            if (json.peek() == JsonToken.BOOLEAN) json.nextBoolean() else json.nextInt() != 0

        private fun box(): DoubleArray {
            json.beginArray()
            val sides = DoubleArray(4) { json.nextDouble() }
            json.endArray()
            if (sides.any { !it.isFinite() } || sides[2] < 0 || sides[3] < 0) throw IOException("no box")
            return sides
        }
    }
}
